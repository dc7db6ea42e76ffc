//! Statistics of kernels by a driver's compiler: registers, spills, occupancy.
//!
//! wgpu hands out no pipelines of the driver, so the kernels are compiled a second time, on a
//! Vulkan device that is made for this and runs nothing, from the SPIR-V that wgpu would make.

mod compiled;

use super::gemm::Tile;
use super::pipelines::Kernel;
use super::translate::Validated;
use crate::gpu::RobustAccess;
use crate::gpu::device::adapter;
use crate::{Error, Result};
use ash::{ext, khr, vk};
use naga::{AddressSpace, ImageClass, TypeInner};
use std::ffi::CStr;
use std::ops::Deref;

pub use compiled::{Compiled, Outcome};

/// A Vulkan adapter whose driver tells what its compiler made of a kernel.
pub struct Compiler {
    // Dropped before the adapter, which keeps the instance.
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    offers: Offers,
    info: wgpu::AdapterInfo,
    _adapter: wgpu::Adapter,
}

/// Features that decide whether the adapter can run a kernel.
struct Offers {
    f16: bool,
    lanes: Option<(u32, u32)>,
    matrices: Vec<u32>,
    workgroup: u32,
    workgroup_memory: u32,
}

impl Compiler {
    /// Opens the adapter that `wanted` names, see [`Options::adapter`](crate::gpu::Options).
    /// With robust buffer access or without.
    ///
    /// # Errors
    /// If there is no such adapter, or it is no Vulkan adapter whose driver has
    /// VK_KHR_pipeline_executable_properties.
    pub fn open(wanted: Option<&str>, robust: RobustAccess) -> Result<Self> {
        let adapter = pollster::block_on(adapter::choose(wanted))?;
        let info = adapter.get_info();
        let lacking = |what: String| Error::Feature {
            op: "compiling for statistics",
            feature: format!(
                "{what}, which {} ({}) lacks; `wgvq info` lists the adapters of this machine",
                info.name, info.backend
            ),
        };
        let features = adapter.features();
        let offers = Offers {
            f16: features.contains(wgpu::Features::SHADER_F16),
            lanes: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            matrices: sides(&adapter),
            workgroup: adapter.limits().max_compute_invocations_per_workgroup,
            workgroup_memory: adapter.limits().max_compute_workgroup_storage_size,
        };
        let (device, executables) = {
            // SAFETY: nothing is destroyed through what is handed out, and what is made here is
            // destroyed before `adapter` is dropped, which keeps the instance alive.
            let hal = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }
                .ok_or_else(|| lacking("Vulkan".into()))?;
            make_device(hal.deref(), robust == RobustAccess::On).map_err(lacking)?
        };
        Ok(Compiler {
            device,
            executables,
            offers,
            info,
            _adapter: adapter,
        })
    }

    /// Compiles a kernel and asks the driver what it made of it; `texts` asks for its intermediate
    /// forms too.
    ///
    /// # Errors
    /// If the kernel's own text has a mistake. What the adapter lacks or the driver refuses is an
    /// [`Outcome`].
    pub fn compile(&self, kernel: &Kernel, texts: bool) -> Result<Outcome> {
        let valid = Validated::of(kernel)?;
        let workgroup_memory = workgroup_memory(&valid);
        if let Some(what) = self.lacks(kernel, &valid, workgroup_memory) {
            return Ok(Outcome::Lacking(what));
        }
        let words = valid.spirv(kernel)?;
        Ok(match self.ask(&valid, &words, texts) {
            Ok((statistics, texts)) => Outcome::Compiled(Compiled {
                workgroup_memory,
                workgroup: valid.reflection.workgroup.iter().product(),
                statistics,
                texts,
            }),
            Err(error) => Outcome::Refused(error.to_string()),
        })
    }

    fn lacks(&self, kernel: &Kernel, valid: &Validated, memory: u32) -> Option<String> {
        let (offers, needs) = (&self.offers, &valid.reflection);
        // Neither the engine's defaults nor `wgvq tune` choose such a one.
        if let Some(tile) = Tile::of(kernel).filter(|tile| !tile.suits(&self.info)) {
            return Some(format!("registers for {tile}"));
        }
        let invocations: u32 = needs.workgroup.iter().product();
        if kernel.get("EMULATE").is_some() {
            return Some("a reason to emulate matrices: that is for tests".into());
        }
        if needs.f16 && !offers.f16 {
            return Some("f16".into());
        }
        let side = kernel.get("SIDE");
        if needs.cooperative_matrices && !side.is_some_and(|s| offers.matrices.contains(&s)) {
            return Some(format!("cooperative matrices of {}", side.unwrap_or(0)));
        }
        if needs.subgroups {
            let lanes = kernel.get("SUBGROUP").or(kernel.get("LANES"));
            // The sizes that the engine tries: of cooperative matrices the largest first, which
            // drivers compile for where nothing else is asked.
            match (offers.lanes, lanes) {
                (None, _) => return Some("subgroups".into()),
                (Some((_, most)), Some(lanes)) if needs.cooperative_matrices && lanes != most => {
                    return Some(format!("subgroups of {lanes} lanes, and no more"));
                }
                (Some((least, most)), Some(lanes)) if ![least, most].contains(&lanes) => {
                    return Some(format!("subgroups of {lanes} lanes"));
                }
                _ => {}
            }
        }
        if invocations > offers.workgroup {
            return Some(format!("workgroups of {invocations}"));
        }
        (memory > offers.workgroup_memory).then(|| format!("{memory} bytes of workgroup memory"))
    }

    fn ask(&self, valid: &Validated, words: &[u32], texts: bool) -> Result<Answer, vk::Result> {
        let device = &self.device;
        let bindings: Vec<_> = bindings(valid)
            .into_iter()
            .map(|(binding, kind)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let params = vk::PushConstantRange {
            stage_flags: vk::ShaderStageFlags::COMPUTE,
            offset: 0,
            size: valid.reflection.params.next_multiple_of(4),
        };
        // SAFETY: each object is made on this device from those before it, is used before it is
        // destroyed, and is destroyed in `Made`'s drop.
        unsafe {
            let mut made = Made::new(device);
            made.set = device.create_descriptor_set_layout(
                &vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings),
                None,
            )?;
            let (sets, ranges) = ([made.set], [params]);
            let mut layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            if params.size > 0 {
                layout = layout.push_constant_ranges(&ranges);
            }
            made.layout = device.create_pipeline_layout(&layout, None)?;
            let module = vk::ShaderModuleCreateInfo::default().code(words);
            made.module = device.create_shader_module(&module, None)?;
            let mut flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR;
            if texts {
                flags |= vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            }
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(made.module)
                .name(c"main");
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(flags)
                .layout(made.layout)
                .stage(stage);
            let none = vk::PipelineCache::null();
            made.pipeline = device
                .create_compute_pipelines(none, &[info], None)
                .map_err(|(_, error)| error)?
                .remove(0);
            self.answer(made.pipeline, texts)
        }
    }

    /// # Safety
    /// `pipeline` is alive and of this device.
    unsafe fn answer(&self, pipeline: vk::Pipeline, texts: bool) -> Result<Answer, vk::Result> {
        use vk::PipelineExecutableStatisticFormatKHR as Format;
        let of = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is alive, and was made with the flags that these calls ask for.
        let found = unsafe { self.executables.get_pipeline_executable_properties(&of) }?;
        let (mut statistics, mut written) = (Vec::new(), Vec::new());
        for (index, properties) in found.iter().enumerate() {
            let of = vk::PipelineExecutableInfoKHR::default()
                .pipeline(pipeline)
                .executable_index(index as u32);
            statistics.push(("Subgroup size".into(), properties.subgroup_size as f64));
            // SAFETY: as above.
            for s in unsafe { self.executables.get_pipeline_executable_statistics(&of) }? {
                // SAFETY: the format says which field of the union was written.
                let value = unsafe {
                    match s.format {
                        Format::FLOAT64 => s.value.f64,
                        Format::BOOL32 => s.value.b32 as f64,
                        Format::INT64 => s.value.i64 as f64,
                        _ => s.value.u64 as f64,
                    }
                };
                let name = s.name_as_c_str().unwrap_or(c"").to_string_lossy();
                // Sums of the code, in which nobody reads anything.
                if !name.to_lowercase().contains("hash") {
                    statistics.push((name.into_owned(), value));
                }
            }
            if texts {
                // SAFETY: as above.
                written.extend(unsafe { self.texts(&of) }?);
            }
        }
        Ok((statistics, written))
    }

    /// # Safety
    /// The pipeline in `of` is alive, of this device, and made to keep its representations.
    unsafe fn texts(
        &self,
        of: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<Vec<(String, String)>, vk::Result> {
        // SAFETY: the caller's word. Without a place for them, the sizes are told.
        let mut all = unsafe {
            self.executables
                .get_pipeline_executable_internal_representations(of)
        }?;
        let mut places: Vec<Vec<u8>> = all.iter().map(|r| vec![0; r.data_size]).collect();
        for (r, place) in all.iter_mut().zip(&mut places) {
            r.p_data = place.as_mut_ptr().cast();
        }
        let mut count = all.len() as u32;
        // SAFETY: there are `count` entries, each of which points to as many bytes as it says.
        unsafe {
            (self
                .executables
                .fp()
                .get_pipeline_executable_internal_representations_khr)(
                self.executables.device(),
                of,
                &mut count,
                all.as_mut_ptr(),
            )
            .result()?;
        }
        let text = |place: &[u8]| {
            let end = place.iter().position(|b| *b == 0).unwrap_or(place.len());
            String::from_utf8_lossy(&place[..end]).into_owned()
        };
        let named = all.iter().zip(&places).take(count as usize);
        Ok(named
            .filter(|(r, _)| r.is_text == vk::TRUE)
            .map(|(r, place)| {
                let name = r.name_as_c_str().unwrap_or(c"code").to_string_lossy();
                (name.into_owned(), text(place))
            })
            .collect())
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: everything made on it was destroyed where it was made.
        unsafe { self.device.destroy_device(None) };
    }
}

/// Statistics and texts.
type Answer = (Vec<(String, f64)>, Vec<(String, String)>);

/// The handles that a pipeline is made of, destroyed with this value. A null handle destroys
/// nothing.
struct Made<'a> {
    device: &'a ash::Device,
    set: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    module: vk::ShaderModule,
    pipeline: vk::Pipeline,
}

impl<'a> Made<'a> {
    fn new(device: &'a ash::Device) -> Self {
        Made {
            device,
            set: vk::DescriptorSetLayout::null(),
            layout: vk::PipelineLayout::null(),
            module: vk::ShaderModule::null(),
            pipeline: vk::Pipeline::null(),
        }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // SAFETY: made on this device, and used by nothing any more.
        unsafe {
            self.device.destroy_pipeline(self.pipeline, None);
            self.device.destroy_shader_module(self.module, None);
            self.device.destroy_pipeline_layout(self.layout, None);
            self.device.destroy_descriptor_set_layout(self.set, None);
        }
    }
}

/// Returns the sides of the square matrices of f16, summed in f32, that an adapter multiplies.
fn sides(adapter: &wgpu::Adapter) -> Vec<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let all = adapter.cooperative_matrix_properties();
    all.iter()
        .filter(|p| p.m_size == p.n_size && p.n_size == p.k_size)
        .filter(|p| (p.ab_type, p.cr_type) == (F16, F32))
        .map(|p| p.m_size)
        .collect()
}

fn workgroup_memory(valid: &Validated) -> u32 {
    let variables = valid.module.global_variables.iter();
    variables
        .filter(|(_, v)| v.space == AddressSpace::WorkGroup)
        .map(|(_, v)| valid.module.types[v.ty].inner.size(valid.module.to_ctx()))
        .sum()
}

/// The bindings of group 0, with what is bound there.
fn bindings(valid: &Validated) -> Vec<(u32, vk::DescriptorType)> {
    let kind = |variable: &naga::GlobalVariable| match variable.space {
        AddressSpace::Storage { .. } => vk::DescriptorType::STORAGE_BUFFER,
        AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
        _ => match valid.module.types[variable.ty].inner {
            TypeInner::Sampler { .. } => vk::DescriptorType::SAMPLER,
            TypeInner::Image {
                class: ImageClass::Storage { .. },
                ..
            } => vk::DescriptorType::STORAGE_IMAGE,
            _ => vk::DescriptorType::SAMPLED_IMAGE,
        },
    };
    let variables = valid.module.global_variables.iter();
    variables
        .filter_map(|(_, v)| v.binding.as_ref().map(|at| (at.binding, kind(v))))
        .collect()
}

/// Returns a device with everything that the adapter offers, so that whatever it can compile, it
/// does.
fn make_device(
    hal: &wgpu::hal::vulkan::Adapter,
    robust: bool,
) -> Result<(ash::Device, khr::pipeline_executable_properties::Device), String> {
    let instance = hal.shared_instance().raw_instance();
    let physical = hal.raw_physical_device();
    let failed = |e: vk::Result| format!("a Vulkan device without errors ({e})");
    // SAFETY: the physical device belongs to the instance, and the adapter keeps both alive.
    unsafe {
        let offered = instance
            .enumerate_device_extension_properties(physical)
            .map_err(failed)?;
        let has = |name: &CStr| {
            let mut names = offered.iter().map(|e| e.extension_name_as_c_str());
            names.any(|offered| offered == Ok(name))
        };
        if !has(khr::pipeline_executable_properties::NAME) {
            return Err("VK_KHR_pipeline_executable_properties".into());
        }
        let mut executable = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut of_1_1 = vk::PhysicalDeviceVulkan11Features::default();
        let mut of_1_2 = vk::PhysicalDeviceVulkan12Features::default();
        let mut of_1_3 = vk::PhysicalDeviceVulkan13Features::default();
        let mut names = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        let version = instance
            .get_physical_device_properties(physical)
            .api_version;
        let mut all = vk::PhysicalDeviceFeatures2::default().push_next(&mut executable);
        if version >= vk::API_VERSION_1_2 {
            all = all.push_next(&mut of_1_1).push_next(&mut of_1_2);
        }
        if version >= vk::API_VERSION_1_3 {
            all = all.push_next(&mut of_1_3);
        }
        if has(khr::cooperative_matrix::NAME) {
            names.push(khr::cooperative_matrix::NAME.as_ptr());
            all = all.push_next(&mut matrices);
        }
        if robust && has(ext::robustness2::NAME) {
            names.push(ext::robustness2::NAME.as_ptr());
            all = all.push_next(&mut robustness);
        }
        instance.get_physical_device_features2(physical, &mut all);
        if !robust {
            all.features.robust_buffer_access = vk::FALSE;
        }
        let priority = [1.0];
        let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&priority);
        let queues = [queue];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut all);
        let device = instance
            .create_device(physical, &info, None)
            .map_err(failed)?;
        let executables = khr::pipeline_executable_properties::Device::new(instance, &device);
        Ok((device, executables))
    }
}
