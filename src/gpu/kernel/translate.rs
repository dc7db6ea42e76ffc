//! Kernels in the languages that drivers read, for the tools of compilers: SPIR-V, Metal's and
//! Direct3D's, as wgpu makes them where checks are off.

use super::pipelines::Kernel;
use super::reflect::Reflection;
use crate::{Error, Result};
use naga::back::{hlsl, msl, spv};
use naga::valid::{
    Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator,
};
use naga::{Module, proc::BoundsCheckPolicies, proc::BoundsCheckPolicy};

/// Naga's checks of bounds are left out, as in the kernels that run.
const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// A kernel that naga has parsed and validated.
pub(in crate::gpu) struct Validated {
    pub(in crate::gpu) module: Module,
    pub(in crate::gpu) reflection: Reflection,
    info: ModuleInfo,
}

impl Validated {
    /// Parses and validates the text of a kernel that takes its parameters as immediates.
    pub(in crate::gpu) fn of(kernel: &Kernel) -> Result<Self> {
        let (wgsl, module, reflection) = kernel.parse(true)?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|e| refused(kernel, e.emit_to_string(&wgsl)))?;
        Ok(Validated {
            module,
            reflection,
            info,
        })
    }

    pub(in crate::gpu) fn spirv(&self, kernel: &Kernel) -> Result<Vec<u32>> {
        let options = spv::Options {
            lang_version: (1, 3),
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..Default::default()
        };
        spv::write_vec(&self.module, &self.info, &options, None)
            .map_err(|e| refused(kernel, e.to_string()))
    }
}

fn refused(kernel: &Kernel, what: String) -> Error {
    Error::Gpu {
        op: format!("shader {}", kernel.label()),
        what,
    }
}

impl Kernel {
    /// Returns the kernel as SPIR-V 1.3.
    ///
    /// # Errors
    /// If the text has a mistake, or naga cannot translate it.
    pub fn spirv(&self) -> Result<Vec<u32>> {
        Validated::of(self)?.spirv(self)
    }

    /// Returns the kernel in Metal's shading language 2.4.
    ///
    /// # Errors
    /// If the text has a mistake, or naga cannot translate it.
    pub fn msl(&self) -> Result<String> {
        let valid = Validated::of(self)?;
        let options = msl::Options {
            lang_version: (2, 4),
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        msl::write_string(&valid.module, &valid.info, &options, &Default::default())
            .map(|(text, _)| text)
            .map_err(|e| refused(self, e.to_string()))
    }

    /// Returns the kernel in Direct3D's shading language, for shader model 6.0, or 6.2 where it
    /// uses f16; `None` for kernels of cooperative matrices, which naga cannot write in it.
    ///
    /// # Errors
    /// If the text has a mistake, or naga cannot translate it.
    pub fn hlsl(&self) -> Result<Option<String>> {
        let valid = Validated::of(self)?;
        if valid.reflection.cooperative_matrices {
            return Ok(None);
        }
        let options = hlsl::Options {
            shader_model: if valid.reflection.f16 {
                hlsl::ShaderModel::V6_2
            } else {
                hlsl::ShaderModel::V6_0
            },
            immediates_target: Some(hlsl::BindTarget {
                space: 1,
                ..Default::default()
            }),
            restrict_indexing: false,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &Default::default())
            .write(&valid.module, &valid.info, None)
            .map_err(|e| refused(self, e.to_string()))?;
        Ok(Some(text))
    }
}
