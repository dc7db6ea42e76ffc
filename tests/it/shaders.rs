//! Kernels translate to SPIR-V, MSL and HLSL, each in variants among which every two values of
//! its defines meet (`WGVQ_THOROUGH=1`: in all), so that one that Metal or DX12
//! cannot take is found on a machine that has neither. No GPU is needed.

use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use wgvq::gpu::Kernel;
use wgvq::registry::operations;
use wgvq::verify::pairwise::{Pair, by_file, pairs, pairwise};

fn all_kernels() -> BTreeMap<String, Kernel> {
    operations()
        .iter()
        .flat_map(|op| op.kernels())
        .map(|k| (k.label(), k))
        .collect()
}

/// Every variant? Before a release; otherwise such a choice that for each two defines of a file
/// each two of their values that meet in some variant meet in a chosen one.
fn thorough() -> bool {
    std::env::var_os("WGVQ_THOROUGH").is_some()
}

/// Returns the variants to translate: a choice, or all.
fn chosen(kernels: &BTreeMap<String, Kernel>) -> Vec<&Kernel> {
    if thorough() {
        return kernels.values().collect();
    }
    by_file(kernels)
        .values()
        .flat_map(|variants| pairwise(variants))
        .collect()
}

/// The choice covers what it says, counted anew, and is worth its while.
#[test]
fn every_two_values_meet() {
    let kernels = all_kernels();
    let (mut of_all, mut of_chosen, mut variants_chosen) = (0, 0, 0);
    for (file, variants) in by_file(&kernels) {
        let chosen = pairwise(&variants);
        let names: BTreeSet<String> = chosen.iter().map(|kernel| kernel.label()).collect();
        assert_eq!(names.len(), chosen.len(), "{file}: one is chosen twice");
        let set = |keep: &dyn Fn(&str) -> bool| {
            let kept = variants.iter().zip(pairs(&variants));
            kept.filter(|(kernel, _)| keep(&kernel.label()))
                .flat_map(|(_, pairs)| pairs)
                .collect::<BTreeSet<Pair>>()
        };
        let all = set(&|_| true);
        let met = set(&|label| names.contains(label));
        let apart: Vec<&Pair> = all.difference(&met).collect();
        assert!(apart.is_empty(), "{file}: never meet: {apart:?}");
        // None is chosen for nothing, so that a choice without it must be found short.
        let last = chosen.last().map(|kernel| kernel.label());
        let without = set(&|label| names.contains(label) && Some(label) != last.as_deref());
        assert!(
            without.len() < all.len() || all.is_empty(),
            "{file}: {last:?} adds nothing"
        );
        of_all += all.len();
        of_chosen += met.len();
        variants_chosen += chosen.len();
    }
    println!(
        "{of_chosen} of {of_all} pairs in {variants_chosen} of {} variants",
        kernels.len()
    );
    assert!(
        of_all > 10_000 && of_chosen == of_all,
        "{of_chosen} of {of_all} pairs"
    );
    assert!(
        variants_chosen * 4 < kernels.len(),
        "{variants_chosen} of {} variants",
        kernels.len()
    );
}

/// A define that a shader asks for is set by some variant of a file that asks for it: one that is
/// mistyped, or of a branch that nothing takes any more, is not.
#[test]
fn every_define_is_set_by_a_variant() {
    let kernels = all_kernels();
    let (mut asked, mut set) = (BTreeMap::new(), BTreeSet::new());
    for (file, variants) in by_file(&kernels) {
        let defines = variants[0].source().check().unwrap();
        for kernel in variants {
            let own = kernel.defines().iter().map(|(name, _)| name.to_string());
            set.extend(own.filter(|name| defines.contains(name)));
        }
        asked.extend(defines.into_iter().map(|name| (name, file)));
    }
    // Both operands of a product have one text: what one of them never sets, the other may.
    let other = |name: &str| match name.split_once('_') {
        Some(("LHS", rest)) => format!("RHS_{rest}"),
        Some(("RHS", rest)) => format!("LHS_{rest}"),
        _ => name.to_owned(),
    };
    let never: Vec<_> = asked
        .iter()
        .filter(|(name, _)| !set.contains(*name) && !set.contains(&other(name)))
        .collect();
    assert!(never.is_empty(), "no variant sets {never:?}");
    assert!(asked.len() > 40, "only {} defines", asked.len());
}

/// Returns what a variant needs by its defines: SIDE is of cooperative matrices (f16 alone where
/// they are emulated), LANES of a subgroup, and what ends in _HALF of f16.
fn needs(kernel: &Kernel) -> [bool; 3] {
    let side = kernel.get("SIDE").is_some();
    let matrices = side && kernel.get("EMULATE").is_none();
    let f16 = kernel
        .defines()
        .iter()
        .any(|(name, _)| name.ends_with("_HALF"));
    [
        side || f16,
        matrices || kernel.get("LANES").is_some(),
        matrices,
    ]
}

/// The capabilities that the engine asks a device for, and no others.
fn capabilities([f16, subgroups, matrices]: [bool; 3], immediates: bool) -> Capabilities {
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::IMMEDIATES, immediates);
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    capabilities.set(Capabilities::SHADER_FLOAT16, f16);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, matrices);
    capabilities
}

/// Returns WGSL without its comments.
fn without_comments(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Does a text without comments name anything of subgroups?
fn uses_subgroups(code: &str) -> bool {
    let names = [
        "subgroupBroadcast",
        "subgroupAdd",
        "subgroupMax",
        "subgroup_",
    ];
    names.iter().any(|name| code.contains(name))
}

/// Does a module store to a component of a vector in memory that invocations share? WGSL lets a
/// compiler make that a store of the whole vector, over what another invocation stores beside it,
/// and Metal's does. So no kernel does, though of two invocations' stores to one vector alone that
/// would be wrong: which invocation a component is of, a module does not say. Components of arrays
/// and of structs are scalars of their own, and SPIR-V's memory model would have those of vectors
/// so too.
fn stores_a_component(module: &naga::Module, info: &naga::valid::ModuleInfo) -> bool {
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.map(|(i, entry)| (&entry.function, info.get_entry_point(i)));
    let functions = module.functions.iter().map(|(at, f)| (f, &info[at]));
    entries.chain(functions).any(|(function, info)| {
        let component = |pointer: naga::Handle<naga::Expression>| {
            use naga::AddressSpace::{Storage, WorkGroup};
            let inner = info[pointer].ty.inner_with(&module.types);
            matches!(
                inner,
                naga::TypeInner::ValuePointer {
                    size: None,
                    space: Storage { .. } | WorkGroup,
                    ..
                }
            )
        };
        stores_to(&function.body, &component)
    })
}

/// Does a block store to a pointer that is `one`?
fn stores_to(block: &naga::Block, one: &dyn Fn(naga::Handle<naga::Expression>) -> bool) -> bool {
    use naga::Statement;
    block.iter().any(|statement| match statement {
        Statement::Store { pointer, .. } => one(*pointer),
        Statement::Block(block) => stores_to(block, one),
        Statement::If { accept, reject, .. } => stores_to(accept, one) || stores_to(reject, one),
        Statement::Loop {
            body, continuing, ..
        } => stores_to(body, one) || stores_to(continuing, one),
        Statement::Switch { cases, .. } => cases.iter().any(|case| stores_to(&case.body, one)),
        _ => false,
    })
}

fn translate(kernel: &Kernel, immediates: bool) -> Result<(), String> {
    let (wgsl, module, reflection) = kernel.parse(immediates).map_err(|e| e.to_string())?;
    let (needs, read) = (
        needs(kernel),
        [
            reflection.f16,
            reflection.subgroups,
            reflection.cooperative_matrices,
        ],
    );
    if read != needs {
        return Err(format!(
            "f16, subgroups, cooperative matrices: {read:?} by its text, {needs:?} by its defines"
        ));
    }
    let code = without_comments(&wgsl);
    let (subgroups, f16) = (
        uses_subgroups(&code),
        code.contains("f16>") || code.contains("f16("),
    );
    if subgroups && !reflection.subgroups {
        return Err("subgroups are used, and not seen".to_owned());
    }
    if code.lines().any(|line| line == "enable f16;") != f16 {
        return Err(format!("uses f16: {f16}, and `enable f16;` says otherwise"));
    }
    if reflection.params > 128 {
        return Err(format!(
            "{} bytes of parameters, of 128 that immediates hold",
            reflection.params
        ));
    }
    if reflection.storage.len() > 8 {
        return Err(format!(
            "{} storage bindings, of 8 that WebGPU's default limits allow",
            reflection.storage.len()
        ));
    }
    if reflection.workgroup.iter().product::<u32>() > 256 {
        return Err(format!(
            "workgroups of {:?}, of 256 invocations that the default limits allow",
            reflection.workgroup
        ));
    }
    let info = Validator::new(ValidationFlags::all(), capabilities(needs, immediates))
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(&wgsl))?;
    if stores_a_component(&module, &info) {
        return Err("stores a component of a vector that invocations share".to_owned());
    }

    use naga::back::{hlsl, msl, spv};
    let spirv = spv::Options {
        lang_version: (1, 3),
        ..Default::default()
    };
    spv::write_vec(&module, &info, &spirv, None).map_err(|e| format!("SPIR-V: {e}"))?;
    let metal = msl::Options {
        lang_version: (2, 4),
        ..Default::default()
    };
    msl::write_string(&module, &info, &metal, &Default::default())
        .map_err(|e| format!("MSL: {e}"))?;
    // naga's HLSL writer has no cooperative matrices: wgpu offers them on Vulkan and Metal only.
    if reflection.cooperative_matrices {
        return Ok(());
    }
    let direct = hlsl::Options {
        // Native 16-bit floats came with 6.2.
        shader_model: if reflection.f16 {
            hlsl::ShaderModel::V6_2
        } else {
            hlsl::ShaderModel::V6_0
        },
        immediates_target: Some(hlsl::BindTarget {
            space: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &direct, &Default::default())
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

#[test]
fn variants_translate() {
    let kernels = all_kernels();
    let chosen = chosen(&kernels);
    assert!(chosen.len() > 100, "only {} variants", chosen.len());
    // Without immediates one declaration differs, the same in all variants of a file: one variant
    // of each is enough.
    let mut files = BTreeSet::new();
    let work: Vec<(&Kernel, bool)> = chosen
        .into_iter()
        .flat_map(|kernel| {
            let first = files.insert(kernel.name());
            [Some((kernel, true)), first.then_some((kernel, false))]
                .into_iter()
                .flatten()
        })
        .collect();
    let failures: Vec<String> = work
        .par_iter()
        .filter_map(|(kernel, immediates)| {
            let failed = translate(kernel, *immediates).err();
            failed.map(|e| format!("{}: {e}", kernel.label()))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        work.len(),
        failures.join("\n")
    );
}

/// Drivers take a second and more for a text of 100 KB: attention's kernels that every GPU runs
/// stay far below.
#[test]
fn texts_of_attention_stay_short() {
    let kernels = all_kernels();
    let own = ["attention", "attention_grad_q", "attention_grad_kv"];
    let lengths = kernels.values().filter(|k| own.contains(&k.name()));
    let lengths: Vec<usize> = lengths.map(|k| k.wgsl(true).unwrap().len()).collect();
    assert!(lengths.len() > 30, "{} variants", lengths.len());
    assert!(lengths.iter().all(|n| *n < 32 << 10), "{lengths:?}");
}

#[test]
fn a_translation_can_fail() {
    static BROKEN: wgvq::gpu::Source = wgvq::gpu::Source {
        name: "broken",
        text: "fn main() { let x: u32 = 1.5; }",
    };
    assert!(translate(&Kernel::new(&BROKEN), true).is_err());
    // A capability that the engine does not ask for.
    static DOUBLE: wgvq::gpu::Source = wgvq::gpu::Source {
        name: "double",
        text: "@group(0) @binding(0) var<storage, read_write> y: array<f64>;\n@compute \
               @workgroup_size(1)\nfn main() { y[0] = 1.0lf; }",
    };
    assert!(translate(&Kernel::new(&DOUBLE), true).is_err());
}

#[test]
fn stores_of_components_are_seen() {
    let stores = |line: &str| {
        let wgsl = format!(
            "var<workgroup> quads: array<vec4<f32>, 8>;\nvar<workgroup> ones: array<f32, 8>;\n\
             var<workgroup> fours: array<array<f32, 4>, 8>;\n\
             @compute @workgroup_size(8)\n\
             fn main(@builtin(local_invocation_index) lane: u32) {{\n\
                 var own = vec4<f32>();\n\
                 if lane < 7u {{ {line} }}\n\
             }}"
        );
        let module = naga::front::wgsl::parse_str(&wgsl).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap();
        stores_a_component(&module, &info)
    };
    assert!(stores("quads[lane / 4u][lane % 4u] = 1.0;"));
    assert!(stores("quads[lane].x = 1.0;"));
    assert!(!stores("quads[lane] = own;"));
    assert!(!stores("ones[lane] = 1.0;"));
    assert!(!stores("fours[lane / 4u][lane % 4u] = 1.0;"));
    assert!(!stores("own[lane % 4u] = 1.0;"));
}

/// The shaders that read and write textures have sizes for constants, which a pipeline fixes.
#[test]
fn texture_shaders_translate() {
    use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
    for source in wgvq::gpu::texture_shaders() {
        let wgsl = wgvq::gpu::preprocess(source, &[]).unwrap();
        let module = naga::front::wgsl::parse_str(&wgsl)
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&wgsl)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap();
        for (channels, levels, linear) in [(1.0, 255.0, 0.0), (3.0, 0.0, 1.0), (4.0, 255.0, 1.0)] {
            let constants = [
                ("W", 64.0),
                ("H", 48.0),
                ("C", channels),
                ("LEVELS", levels),
                ("LINEAR", linear),
            ];
            let constants = constants
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            let (module, info) = process_overrides(&module, &info, None, &constants).unwrap();
            spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap();
            let metal = msl::Options {
                lang_version: (2, 4),
                ..Default::default()
            };
            msl::write_string(&module, &info, &metal, &Default::default()).unwrap();
            let (options, mut text) = (hlsl::Options::default(), String::new());
            hlsl::Writer::new(&mut text, &options, &Default::default())
                .write(&module, &info, None)
                .unwrap();
        }
    }
}

/// Browsers want a line for each extension that a text uses, and take none for one that the device
/// lacks. Which ones a text uses is held against its reflection for all variants that are
/// translated; here it is seen, in two variants of each file, that the lines follow from it.
#[test]
fn texts_for_browsers_name_what_they_use() {
    let (mut with, mut without) = (0, 0);
    let kernels = all_kernels();
    let ends = by_file(&kernels).into_values();
    let ends = ends.flat_map(|of_file| [of_file[0], of_file[of_file.len() - 1]]);
    for kernel in ends {
        let label = kernel.label();
        let text = kernel.wgsl_for_browsers().unwrap();
        let code = without_comments(&text);
        let names = |line: &str| code.lines().any(|l| l == line);
        let subgroups = uses_subgroups(&code) || needs(kernel)[1];
        assert_eq!(names("enable subgroups;"), subgroups, "{label}");
        assert!(!code.contains("var<immediate>"), "{label}");
        if subgroups { with += 1 } else { without += 1 }
    }
    assert!(
        with > 10 && without > 50,
        "{with} with subgroups, {without} without"
    );
}
