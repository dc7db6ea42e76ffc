//! Pipelines from kernel text: naga's reflection supplies the bindings and the workgroup size.

use super::compiled::Compiled;
use super::layouts::Layout;
use super::preprocess::Expanded;
use super::reflect::Reflection;
use super::source::{Source, expand};
use crate::gpu::Gpu;
use crate::{Error, Result};
use smallvec::SmallVec;
use std::sync::Arc;

/// A kernel file and the defines that make one variant of it.
#[derive(Clone, Debug, Eq)]
pub struct Kernel {
    source: &'static Source,
    /// Sorted by name.
    defines: SmallVec<[(&'static str, u32); 12]>,
}

/// Names and texts stand in the program once each, mostly, so that their places tell that they are
/// the same; kilobytes of text are compared where that does not.
impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        let text = |a: &'static str, b: &'static str| std::ptr::eq(a, b) || a == b;
        let defined =
            |((a, x), (b, y)): (&(&'static str, u32), &(&'static str, u32))| x == y && text(a, b);
        (std::ptr::eq(self.source, other.source) || self.source == other.source)
            && self.defines.len() == other.defines.len()
            && self.defines.iter().zip(&other.defines).all(defined)
    }
}

/// Without the text, whose hash took a fifth of the time in which a dispatch is recorded. Equality
/// has it.
impl std::hash::Hash for Kernel {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.source.name, self.source.text.len(), &self.defines).hash(state);
    }
}

impl Kernel {
    /// Returns the plain variant of `source`.
    pub fn new(source: &'static Source) -> Self {
        Kernel {
            source,
            defines: SmallVec::new(),
        }
    }

    /// Sets the constant `name`, which the text also sees in `#ifdef` and `#unroll`.
    pub fn define(mut self, name: &'static str, value: u32) -> Self {
        match self.defines.binary_search_by_key(&name, |d| d.0) {
            Ok(at) => self.defines[at].1 = value,
            Err(at) => self.defines.insert(at, (name, value)),
        }
        self
    }

    /// Sets `name` if `on`.
    pub fn flag(self, name: &'static str, on: bool) -> Self {
        if on { self.define(name, 1) } else { self }
    }

    /// The text that this is a variant of.
    pub fn source(&self) -> &'static Source {
        self.source
    }

    /// The kernel's file name, without `.wgsl`.
    pub fn name(&self) -> &'static str {
        self.source
            .name
            .rsplit_once('/')
            .map_or(self.source.name, |(_, name)| name)
    }

    /// The defines of this variant, sorted by name.
    pub fn defines(&self) -> &[(&'static str, u32)] {
        &self.defines
    }

    /// Returns the value of a define of this variant.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.defines
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| *v)
    }

    /// `name(DEFINE=value,..)`, unique to the variant.
    pub fn label(&self) -> String {
        let defines: Vec<String> = self
            .defines
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        if defines.is_empty() {
            self.name().to_owned()
        } else {
            format!("{}({})", self.name(), defines.join(","))
        }
    }

    /// The final WGSL for a browser: parameters come from a uniform buffer, and subgroups are
    /// announced by a line, which naga refuses. Browsers prove that a subgroup branches as one, and
    /// cannot see it where a vote (`subgroupAny`) decides: for that the proof is waived.
    pub fn wgsl_for_browsers(&self) -> Result<String> {
        let (text, _, reflection) = self.parse(false)?;
        Ok(for_browsers(text, &reflection))
    }

    /// Returns the final WGSL. `immediates` tells whether the device takes parameters as
    /// immediates; without them the same struct is read from a uniform buffer.
    pub fn wgsl(&self, immediates: bool) -> Result<String> {
        Ok(self.expanded(immediates, None)?.text)
    }

    fn expanded(&self, immediates: bool, planted: Option<&Source>) -> Result<Expanded> {
        let mut out = expand(self.source, &self.defines, planted)?;
        if !immediates {
            let uniform = format!("@group(0) @binding({UNIFORM_BINDING}) var<uniform>");
            out.text = out.text.replace("var<immediate>", &uniform);
        }
        Ok(out)
    }

    /// The final WGSL, and what naga reads from it.
    ///
    /// # Errors
    /// If the text has a mistake, with its file and line.
    pub fn parse(&self, immediates: bool) -> Result<(String, naga::Module, Reflection)> {
        self.parse_with(immediates, None)
    }

    /// [`Kernel::parse`] with `planted` in place of the file of its name, as
    /// [`Options::planted`](crate::gpu::Options::planted) has it.
    ///
    /// # Errors
    /// If the text has a mistake, with its file and line.
    pub fn parse_with(
        &self,
        immediates: bool,
        planted: Option<&Source>,
    ) -> Result<(String, naga::Module, Reflection)> {
        let out = self.expanded(immediates, planted)?;
        let module = naga::front::wgsl::parse_str(&out.text).map_err(|e| {
            let what = e.emit_to_string(&out.text);
            match e
                .location(&out.text)
                .and_then(|at| out.origin(at.line_number as usize))
            {
                Some((file, line)) => Error::Shader {
                    file: format!("shaders/{file}.wgsl"),
                    line,
                    what,
                },
                None => Error::Gpu {
                    op: format!("shader {}", self.label()),
                    what,
                },
            }
        })?;
        let reflection = Reflection::of(&self.label(), &module)?;
        Ok((out.text, module, reflection))
    }
}

/// Binding of the parameters on devices without immediates: past every storage binding.
pub(crate) const UNIFORM_BINDING: u32 = 15;

fn for_browsers(text: String, reflection: &Reflection) -> String {
    if reflection.subgroups {
        format!("enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n{text}")
    } else {
        text
    }
}

/// A compiled variant.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) id: u64,
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: Layout,
    pub(crate) reflection: Reflection,
    pub(crate) label: String,
}

impl Gpu {
    /// Returns the pipeline of a kernel, compiled at first use and kept.
    pub fn pipeline(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        if let Some(p) = self.inner.kernel.pipelines.lock().get(kernel) {
            return Ok(p.clone());
        }
        let compiled = &self.inner.kernel.compiled;
        let pipeline = Arc::new(compiled.kernel(|| self.compile(kernel))?);
        self.inner
            .kernel
            .pipelines
            .lock()
            .insert(kernel.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Returns how many kernels were compiled so far, and how long it took.
    pub fn compiled(&self) -> Compiled {
        self.inner.kernel.compiled.get()
    }

    /// Returns the variants compiled so far, sorted by label.
    pub fn kernels_in_use(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .inner
            .kernel
            .pipelines
            .lock()
            .values()
            .map(|p| p.label.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// Checks that the device has the features that the kernel's text uses.
    fn check_features(&self, kernel: &Kernel, reflection: &Reflection) -> Result<()> {
        use wgpu::Features;
        let needed = [
            (reflection.f16, Features::SHADER_F16),
            (reflection.subgroups, Features::SUBGROUP),
            (
                reflection.cooperative_matrices,
                Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            ),
        ];
        let features = self.inner.device.features();
        match needed
            .into_iter()
            .find(|(needed, feature)| *needed && !features.contains(*feature))
        {
            None => Ok(()),
            Some((_, feature)) => Err(Error::Feature {
                op: kernel.name(),
                feature: format!("{feature:?}: {} uses it", kernel.label()),
            }),
        }
    }

    fn compile(&self, kernel: &Kernel) -> Result<Pipeline> {
        let device = &self.inner.device;
        let label = kernel.label();
        let (_, module, reflection) =
            kernel.parse_with(self.inner.immediates, self.inner.options.planted)?;
        let most = self.inner.limits.max_storage_buffers_per_shader_stage as usize;
        if reflection.storage.len() > most {
            let feature = format!(
                "max_storage_buffers_per_shader_stage of {}: {label} binds so many, and the \
                 device allows {most}; ask for WebGPU's default limits",
                reflection.storage.len()
            );
            return Err(Error::Feature {
                op: kernel.name(),
                feature,
            });
        }
        self.check_features(kernel, &reflection)?;
        // A browser takes text alone. What was parsed here is not parsed again elsewhere: naga's
        // parser takes time quadratic in the expressions of a function.
        #[cfg(target_arch = "wasm32")]
        let source = {
            drop(module);
            wgpu::ShaderSource::Wgsl(for_browsers(kernel.wgsl(false)?, &reflection).into())
        };
        #[cfg(not(target_arch = "wasm32"))]
        let source = wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module));
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let layout = self.layout(&reflection);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source,
        };
        let checked = self.inner.options.shader_checks;
        let module = if checked {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: kernels guard every index by hand and their loops end. `tests/ops.rs` runs
            // every case of the registry with the checks on and off, between guard bands
            // (`gpu/memory/guard.rs`), and asks for equal bits and intact bands. Robust access is
            // off there where these checks are.
            unsafe {
                device.create_shader_module_trusted(
                    descriptor,
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            }
        };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&layout.pipeline),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = self.caught(scope, &label) {
            return Err(Error::Gpu {
                op: format!("kernel {label}"),
                what: error.to_string(),
            });
        }
        Ok(Pipeline {
            id: self.next_id(),
            pipeline,
            layout,
            reflection,
            label,
        })
    }
}
