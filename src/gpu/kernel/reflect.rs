//! Reflection of a kernel's text by naga: bindings, parameters, and the features that it needs.

use crate::{Error, Result};
use naga::{AddressSpace, BuiltIn, Expression, Handle, Module, ScalarKind, Type, TypeInner};

/// The interface of a kernel's module.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Storage bindings of group 0, in order.
    pub storage: Vec<StorageBinding>,
    /// Bytes of the parameter struct, 0 if the kernel takes none.
    pub params: u32,
    /// Invocations per workgroup.
    pub workgroup: [u32; 3],
    /// Whether it uses WGSL's f16.
    pub f16: bool,
    /// Whether it uses subgroups.
    pub subgroups: bool,
    /// Whether it uses cooperative matrices.
    pub cooperative_matrices: bool,
}

/// A buffer that a kernel binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageBinding {
    /// Its number.
    pub binding: u32,
    /// Whether the kernel may write it.
    pub write: bool,
    /// The width of its elements.
    pub elements: Elements,
}

/// The width of a buffer's elements, as a kernel declares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// WGSL's f16.
    F16,
    /// A struct `Halves`: words that hold two 16-bit floats each, of either kind.
    Halves,
    /// Elements of 32 bits.
    Words,
}

/// Parses `wgsl` and reads its bindings, parameter size and workgroup size.
pub fn reflect(label: &str, wgsl: &str) -> Result<(Module, Reflection)> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| Error::Gpu {
        op: format!("shader {label}"),
        what: e.emit_to_string(wgsl),
    })?;
    let reflection = Reflection::of(label, &module)?;
    Ok((module, reflection))
}

impl Reflection {
    /// Reads what `module` says; `label` is for errors.
    pub(super) fn of(label: &str, module: &Module) -> Result<Reflection> {
        let refused = |what: String| Error::Gpu {
            op: format!("shader {label}"),
            what,
        };
        let mut layouter = naga::proc::Layouter::default();
        layouter
            .update(module.to_ctx())
            .map_err(|e| refused(e.to_string()))?;
        let mut storage = Vec::new();
        let mut params = 0;
        for (_, var) in module.global_variables.iter() {
            match var.space {
                AddressSpace::Storage { access } => {
                    storage.extend(var.binding.as_ref().map(|at| StorageBinding {
                        binding: at.binding,
                        write: access.contains(naga::StorageAccess::STORE),
                        elements: elements(module, var.ty),
                    }));
                }
                AddressSpace::Immediate | AddressSpace::Uniform => params = layouter[var.ty].size,
                _ => {}
            }
        }
        storage.sort_unstable_by_key(|at| at.binding);
        let entry = module
            .entry_points
            .first()
            .ok_or_else(|| refused("no entry point".into()))?;
        let types = || module.types.iter().map(|(_, ty)| &ty.inner);
        Ok(Reflection {
            storage,
            params,
            workgroup: entry.workgroup_size,
            f16: types().any(is_f16),
            subgroups: uses_subgroups(module),
            cooperative_matrices: uses_matrices(module)
                || types().any(|inner| matches!(inner, TypeInner::CooperativeMatrix { .. })),
        })
    }
}

fn is_f16(inner: &TypeInner) -> bool {
    let scalar = match *inner {
        TypeInner::CooperativeMatrix { scalar, .. } => Some(scalar),
        _ => inner.scalar(),
    };
    scalar.is_some_and(|scalar| scalar.kind == ScalarKind::Float && scalar.width == 2)
}

fn elements(module: &Module, ty: Handle<Type>) -> Elements {
    let ty = &module.types[ty];
    match ty.inner {
        TypeInner::Array { base, .. } => elements(module, base),
        TypeInner::Struct { .. } if ty.name.as_deref() == Some("Halves") => Elements::Halves,
        ref inner if is_f16(inner) => Elements::F16,
        _ => Elements::Words,
    }
}

/// Whether a matrix is loaded or multiplied. The types of such expressions are not among the
/// module's.
fn uses_matrices(module: &Module) -> bool {
    functions(module).any(|function| {
        function.expressions.iter().any(|(_, expression)| {
            matches!(
                expression,
                Expression::CooperativeLoad { .. } | Expression::CooperativeMultiplyAdd { .. }
            )
        })
    })
}

/// Returns all functions of a module, entry points too.
fn functions(module: &Module) -> impl Iterator<Item = &naga::Function> {
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    module.functions.iter().map(|(_, f)| f).chain(entries)
}

fn uses_subgroups(module: &Module) -> bool {
    let is_builtin = |binding: &Option<naga::Binding>| {
        use BuiltIn::{NumSubgroups, SubgroupId, SubgroupInvocationId, SubgroupSize};
        matches!(
            binding,
            Some(naga::Binding::BuiltIn(
                NumSubgroups | SubgroupId | SubgroupSize | SubgroupInvocationId
            ))
        )
    };
    functions(module).any(|function| {
        // Each operation of a subgroup has a result.
        let mut expressions = function.expressions.iter();
        function
            .arguments
            .iter()
            .any(|arg| is_builtin(&arg.binding))
            || expressions.any(|(_, expression)| {
                matches!(
                    expression,
                    Expression::SubgroupBallotResult | Expression::SubgroupOperationResult { .. }
                )
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str, args: &str, body: &str) -> Reflection {
        let wgsl = format!(
            "{head}\n@group(0) @binding(1) var<storage, read_write> y: array<f32>;\n@compute \
             @workgroup_size(64) fn main({args}) {{ {body} }}"
        );
        reflect("test", &wgsl).unwrap().1
    }

    #[test]
    fn features_are_read_from_what_is_used() {
        let plain = of("", "", "y[0] = 1.0;");
        assert!(!plain.f16 && !plain.subgroups && !plain.cooperative_matrices);
        let half = "enable f16;\n@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;";
        let half = of(half, "", "y[0] = f32(x[0].x);");
        assert!(half.f16 && !half.subgroups);
        let held = |r: &Reflection| r.storage.iter().map(|at| at.elements).collect::<Vec<_>>();
        assert_eq!(held(&half), [Elements::F16, Elements::Words]);
        assert_eq!(
            half.storage.iter().map(|at| at.write).collect::<Vec<_>>(),
            [false, true]
        );
        let words = "struct Halves { bits: u32 }\n@group(0) @binding(0) var<storage, read> x: \
                     array<Halves>;";
        let words = of(words, "", "y[0] = f32(x[0].bits);");
        assert_eq!(held(&words), [Elements::Halves, Elements::Words]);
        assert!(!words.f16);
        for (args, body) in [
            ("", "y[0] = subgroupAdd(1.0);"),
            ("", "if subgroupAny(y[0] > 0.0) { y[0] = 1.0; }"),
            ("", "y[0] = subgroupBroadcast(y[1], 3u);"),
            ("@builtin(subgroup_size) size: u32", "y[0] = f32(size);"),
        ] {
            assert!(of("", args, body).subgroups, "{args} {body}");
        }
        let matrices =
            "enable f16;\nenable wgpu_cooperative_matrix;\nvar<workgroup> t: array<f16, 64>;";
        let matrices = of(
            matrices,
            "",
            "let a = coopLoad<coop_mat8x8<f16, A>>(&t[0], 8u); y[0] = 0.0;",
        );
        assert!(matrices.cooperative_matrices && matrices.f16);
    }
}
