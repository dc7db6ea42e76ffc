//! Attention of one new token per sequence over the keys and values kept from before: a step of
//! generation.
//!
//! Nothing is read back between steps. The lengths of the sequences are on the device, every layer
//! of a model reads the same ones, and [`advance`] moves them on after the last layer.

mod reference;
mod spec;
mod window;

pub use spec::AttentionDecodeSpec;
pub use window::attention_window;

use super::attention::{Attention, MOST_CHANNELS};
use super::parts::{Rows, join, join_kernels};
use crate::gpu::device::adapter::LANES;
use crate::gpu::{Core, DType, Gpu, Kernel, ROW_GROUPS, Tensor, Work, groups_for, row_group};
use crate::{Error, Result, shader};

/// The keys and values of one layer for sequences of up to T tokens.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// f32 [B, T, H, D].
    pub k: Tensor,
    /// f32 [B, T, H, D].
    pub v: Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    heads: u32,
    sequences: u32,
    most: u32,
    d: u32,
    scale: f32,
    mask: [u32; 2],
    parts: u32,
}

/// Quarters of a head's channels that an invocation sums, 1 where a workgroup has enough of them.
const UNITS_EACH: [u32; 4] = [1, 2, 4, 8];
/// Groups whose walk may fall into parts.
const PARTED: [u32; 2] = [ROW_GROUPS[1], ROW_GROUPS[2]];
/// Keys that an invocation scores in one go; the kernel names four.
const KEYS_EACH: u32 = 4;

/// Keys that a query attends to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// A cache.
    All,
    /// Keys of a cache that a mask lets it see.
    Masked,
    /// Keys of another sequence.
    Cross,
}

fn kernel(keys: Keys, vec: bool, group: u32, each: u32, parts: bool, window: bool) -> Kernel {
    let kernel = Kernel::new(shader!("attention/attention_decode"))
        .define("GROUP", group)
        .define("KEYS_EACH", KEYS_EACH);
    let kernel = kernel.define("UNITS_EACH", each).flag("VEC", vec);
    kernel
        .flag("MASK", keys == Keys::Masked)
        .flag("CROSS", keys == Keys::Cross)
        .flag("PARTS", parts)
        .flag("WINDOW", window)
}

/// For workgroups that are a subgroup, and heads of a multiple of 4 channels.
fn subgroup_kernel(masked: bool, lanes: u32, each: u32, window: bool) -> Kernel {
    let kernel = Kernel::new(shader!("attention/attention_decode_subgroup"))
        .define("LANES", lanes)
        .define("UNITS_EACH", each);
    kernel.flag("MASK", masked).flag("WINDOW", window)
}

/// Keys that are worth a workgroup of their own.
const PART: usize = 256;
/// Parts at most.
const MOST_PARTS: usize = 32;

/// Returns into how many parts the keys of a query fall, so that the few heads of few sequences
/// keep a GPU busy. By the cache's size alone: a sequence gets the same bits among others as alone.
fn parts(gpu: &Gpu, most: usize, group: u32) -> usize {
    if gpu.core() == Core::Subgroup || !PARTED.contains(&group) {
        return 1;
    }
    most_parts(most)
}

/// Returns the parts into which the keys of a query fall at most, of which each leaves sums.
pub(crate) fn most_parts(most: usize) -> usize {
    (most / PART).clamp(1, MOST_PARTS)
}

/// Returns the kernel for heads of `d` channels, and the parts of its walk.
fn choose(gpu: &Gpu, keys: Keys, most: usize, d: usize, window: bool) -> (Kernel, usize) {
    let fits = d.is_multiple_of(4) && keys != Keys::Cross;
    if let (Core::Subgroup, Some(lanes), true) = (gpu.core(), gpu.subgroup_size(), fits) {
        let each = (d as u32 / 4).div_ceil(lanes).next_power_of_two();
        let masked = keys == Keys::Masked;
        return (subgroup_kernel(masked, lanes, each, window), 1);
    }
    // Each key is walked over by quarters for its score, and once for its value.
    let group = row_group(gpu, false, 2 * most * d.div_ceil(4));
    let parts = parts(gpu, most, group);
    let needed = (d as u32).div_ceil(4 * group);
    let each = UNITS_EACH
        .into_iter()
        .find(|e| *e >= needed)
        .unwrap_or(UNITS_EACH[3]);
    let vec = d.is_multiple_of(4);
    (kernel(keys, vec, group, each, parts > 1, window), parts)
}

pub(super) fn steps(keys: Keys) -> Vec<Kernel> {
    let small = UNITS_EACH.map(|each| (ROW_GROUPS[0], each));
    let variants = small
        .into_iter()
        .chain([(ROW_GROUPS[1], 1), (ROW_GROUPS[2], 1)]);
    let parted = PARTED.map(|group| (group, 1, true));
    variants
        .map(|(group, each)| (group, each, false))
        .chain(parted)
        .flat_map(|(group, each, parts)| {
            [(false, false), (true, false), (false, true), (true, true)]
                .map(|(vec, window)| kernel(keys, vec, group, each, parts, window))
        })
        .collect()
}

fn kernels() -> Vec<Kernel> {
    let most = MOST_CHANNELS as u32 / 4;
    let subgroup = LANES.into_iter().flat_map(|lanes| {
        let each = UNITS_EACH
            .into_iter()
            .filter(move |each| lanes * each <= most);
        each.flat_map(move |each| {
            [(false, false), (true, false), (false, true), (true, true)]
                .map(|(masked, window)| subgroup_kernel(masked, lanes, each, window))
        })
    });
    let fixed = [
        fill_kernel(false, false),
        fill_kernel(true, false),
        fill_kernel(false, true),
        fill_kernel(true, true),
        advance_kernel(),
    ];
    [steps(Keys::All), steps(Keys::Masked)]
        .concat()
        .into_iter()
        .chain(subgroup)
        .chain(fixed)
        .chain(join_kernels())
        .collect()
}
fn fill_kernel(vec: bool, each: bool) -> Kernel {
    Kernel::new(shader!("attention/attention_decode_kv_cache"))
        .flag("VEC", vec)
        .flag("EACH", each)
}
fn advance_kernel() -> Kernel {
    Kernel::new(shader!("attention/attention_decode_advance"))
}

/// Cost of a step over caches of `t` rows.
pub(super) fn work([b, t, h, d]: [usize; 4]) -> Work {
    let values = (b * t * h * d) as f64;
    Work {
        flops: 4.0 * values,
        bytes: 8.0 * values,
    }
}

const OP: &str = "attention_decode";

impl KvCache {
    /// A cache for sequences of `shape` = [B, T, H, D]. What it holds is undefined until it is
    /// written; what rows of a window make of it that stand for no code is not used.
    ///
    /// # Errors
    /// If there is no row, D is 0 or above [`MOST_CHANNELS`], or the device cannot bind as much.
    pub fn new(gpu: &Gpu, shape: [usize; 4]) -> Result<KvCache> {
        let [_, t, h, d] = shape;
        if t == 0 || h == 0 || d == 0 || d > MOST_CHANNELS {
            let what = format!(
                "a cache of {shape:?}: [B, T, H, D] with T and H of at least 1 and D of 1 to \
                 {MOST_CHANNELS}"
            );
            return Err(Error::invalid(OP, what));
        }
        let limit = gpu.limits().max_storage_buffer_binding_size;
        let asked = shape
            .iter()
            .try_fold(4u64, |n, d| n.checked_mul(*d as u64))
            .unwrap_or(u64::MAX);
        if asked > limit {
            return Err(Error::Limit {
                what: format!("{OP}: a cache of {shape:?}"),
                asked,
                limit,
            });
        }
        let half = || Tensor::empty(gpu, &shape, DType::F32);
        Ok(KvCache {
            k: half()?,
            v: half()?,
        })
    }

    fn check(&self, qkv: &Tensor, window: bool) -> Result<([usize; 4], usize)> {
        let [b, t, three, h, d] = qkv.dims(OP)?;
        let [sequences, most, ch, cd] = self.k.dims(OP)?;
        let cb = if window { b } else { sequences };
        let floats = [qkv, &self.k, &self.v]
            .iter()
            .all(|t| t.dtype() == DType::F32);
        if three != 3
            || [cb, ch, cd] != [b, h, d]
            || self.v.shape() != self.k.shape()
            || !floats
            || d > MOST_CHANNELS
        {
            let expected = format!(
                "f32 [{cb}, T, 3, {ch}, {cd}] for a cache {:?}",
                self.k.shape()
            );
            return Err(Error::shape(OP, expected, format!("{qkv:?}")));
        }
        Ok(([b, t, h, d], most))
    }

    /// Writes the keys and values of prompts, qkv [B, T, 3, H, D], as the cache's first T rows.
    /// Prompts of several lengths are padded at their ends: what lies past a sequence's length is
    /// not read, and written over as it grows. The prompts' own attention
    /// is [`attention_packed`](super::attention::attention_packed)'s.
    ///
    /// # Errors
    /// If the shapes do not fit, or T is more than the cache has.
    pub fn prefill(&self, qkv: &Tensor) -> Result<()> {
        self.fill(qkv, None)
    }

    fn fill(&self, qkv: &Tensor, at: Option<&Tensor>) -> Result<()> {
        let ([b, t, h, d], most) = self.check(qkv, at.is_some())?;
        if t > most {
            return Err(Error::invalid(
                OP,
                format!("a prompt of {t} tokens for a cache of {most}"),
            ));
        }
        let vec = d.is_multiple_of(4);
        let units = if vec { h * d / 4 } else { h * d };
        let n = b * t * units;
        let params = [n, t, units, most].map(|v| v as u32);
        let work = Work {
            flops: 0.0,
            bytes: 16.0 * (b * t * h * d) as f64,
        };
        qkv.gpu().dispatch(
            OP,
            &fill_kernel(vec, at.is_some()),
            &[qkv, &self.k, &self.v]
                .into_iter()
                .chain(at)
                .collect::<Vec<_>>(),
            &params,
            groups_for(n, 64),
            work,
        )
    }
}

/// The attended values [B, 1, H, D] of one new token per sequence: qkv [B, 1, 3, H, D], as a
/// projection of the new tokens makes it. Its key and value become row `lengths[b]` of the cache,
/// and the query sees that row and those before it: with a mask, which has T queries and T keys,
/// that row and those that row `lengths[b]` of the mask lets it see. A sequence whose cache is full
/// writes its last row again: stop before.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention_decode(
    qkv: &Tensor,
    cache: &KvCache,
    lengths: &Tensor,
    options: Attention,
) -> Result<Tensor> {
    let ([b, t, h, d], most) = cache.check(qkv, false)?;
    if t != 1 || lengths.shape() != [b] || lengths.dtype() != DType::U32 {
        let expected = format!("one token, [{b}, 1, 3, {h}, {d}], and u32 lengths [{b}]");
        return Err(Error::shape(OP, expected, format!("{qkv:?}, {lengths:?}")));
    }
    let scale = scale(options, d)?;
    let mask = options
        .mask
        .map(|m| m.check(OP, [b, most, most]).map(|()| m.by_query()))
        .transpose()?;
    let keys = if mask.is_some() {
        Keys::Masked
    } else {
        Keys::All
    };
    let sizes = [b, most, h, d];
    let strides = mask.map_or([0; 2], |m| [m.strides[0], m.strides[1]]);
    let inputs = [qkv, lengths, &cache.k, &cache.v];
    step(
        OP,
        keys,
        sizes,
        scale,
        strides,
        &inputs,
        mask.map(|m| &m.words),
        None,
    )
}

/// Returns the attended values of a step over `sizes` = [B, T, H, D], from the inputs in the order
/// of the bindings and the words of a mask. Where several rows may be of one sequence, `at` has the
/// place of each, in a decode as one of the inputs too.
pub(super) fn step(
    op: &'static str,
    keys: Keys,
    sizes: [usize; 4],
    scale: f32,
    mask: [u32; 2],
    inputs: &[&Tensor],
    words: Option<&Tensor>,
    at: Option<&Tensor>,
) -> Result<Tensor> {
    let [b, most, h, d] = sizes;
    let gpu = inputs[0].gpu();
    let (kernel, parts) = choose(gpu, keys, most, d, at.is_some());
    let o = Tensor::empty(gpu, &[b, 1, h, d], DType::F32)?;
    let found = if parts > 1 {
        let o_parts = Tensor::empty(gpu, &[parts, o.len()], DType::F32)?;
        Some((o_parts, Tensor::empty(gpu, &[parts, b * h], DType::F32)?))
    } else {
        None
    };
    let params = Params {
        heads: h as u32,
        sequences: b as u32,
        most: most as u32,
        d: d as u32,
        scale,
        mask,
        parts: parts as u32,
    };
    let mut bindings = inputs.to_vec();
    bindings.push(found.as_ref().map_or(&o, |(o_parts, _)| o_parts));
    bindings.extend(at.filter(|_| keys == Keys::Cross));
    bindings.extend(words);
    bindings.extend(found.as_ref().map(|(_, lse_parts)| lse_parts));
    let groups = groups_for(b * h * parts, 1);
    gpu.dispatch(op, &kernel, &bindings, &params, groups, work(sizes))?;
    if let Some((o_parts, lse_parts)) = &found {
        let lse = Tensor::empty(gpu, &[b, h, 1], DType::F32)?;
        let rows = Rows {
            heads: h,
            tq: 1,
            d,
            o: [h * d, d, h * d],
        };
        join(op, [o_parts, lse_parts], [&o, &lse], rows, parts)?;
    }
    Ok(o)
}

/// The factor of q . k.
pub(super) fn scale(options: Attention, d: usize) -> Result<f32> {
    let scale = options.scale.unwrap_or_else(|| 1.0 / (d as f32).sqrt());
    if scale.is_finite() {
        Ok(scale)
    } else {
        Err(Error::invalid(OP, "a scale that is not finite"))
    }
}

/// `lengths[b] = min(lengths[b] + by, most)`, u32 `[B]`, in place: after the last layer of a step.
///
/// # Errors
/// If the lengths are not u32.
pub fn advance(lengths: &Tensor, by: u32, most: u32) -> Result<()> {
    if lengths.dtype() != DType::U32 {
        return Err(Error::shape(OP, "u32 lengths", format!("{lengths:?}")));
    }
    let n = lengths.len();
    let work = Work {
        flops: n as f64,
        bytes: 8.0 * n as f64,
    };
    let params = [n as u32, by, most];
    lengths.gpu().dispatch(
        OP,
        &advance_kernel(),
        &[lengths],
        &params,
        groups_for(n, 64),
        work,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;
    use crate::ops::attention::attention::attention_packed;
    use crate::spec::Rng;

    fn close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        assert!(
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6),
            "{a:?}\n{b:?}"
        );
    }

    /// Token by token from nothing, without a cache's help from the host, gives what causal
    /// attention gives at once.
    #[test]
    fn steps_equal_causal_attention() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let (b, t, h, d) = (2, 9, 2, 12);
        let mut rng = Rng::new(8);
        let qkv = rng.normals(&[b, t, 3, h, d]);
        let whole = attention_packed(&qkv.upload(&gpu).unwrap(), Attention::CAUSAL)
            .unwrap()
            .0
            .read::<f32>()
            .unwrap();
        let values = match &qkv.data {
            crate::spec::Data::F32(v) => v.clone(),
            _ => Vec::new(),
        };
        let cache = KvCache::new(&gpu, [b, t, h, d]).unwrap();
        let lengths = Tensor::zeros(&gpu, &[b], DType::U32).unwrap();
        let each = 3 * h * d;
        for i in 0..t {
            let step: Vec<f32> = (0..b)
                .flat_map(|s| values[(s * t + i) * each..][..each].to_vec())
                .collect();
            let step = Tensor::from_slice(&gpu, &[b, 1, 3, h, d], &step).unwrap();
            let y = attention_decode(&step, &cache, &lengths, Attention::CAUSAL)
                .unwrap()
                .read::<f32>()
                .unwrap();
            advance(&lengths, 1, t as u32).unwrap();
            let want: Vec<f32> = (0..b)
                .flat_map(|s| whole[(s * t + i) * h * d..][..h * d].to_vec())
                .collect();
            close(&y, &want);
        }
        assert_eq!(lengths.read::<u32>().unwrap(), [9, 9]);
    }

    #[test]
    fn a_full_cache_writes_its_last_row_and_no_other() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let cache = KvCache::new(&gpu, [1, 2, 1, 1]).unwrap();
        cache
            .prefill(
                &Tensor::from_slice(&gpu, &[1, 2, 3, 1, 1], &[0.0f32, 1.0, 2.0, 0.0, 3.0, 4.0])
                    .unwrap(),
            )
            .unwrap();
        let lengths = Tensor::from_slice(&gpu, &[1], &[u32::MAX]).unwrap();
        let token = Tensor::from_slice(&gpu, &[1, 1, 3, 1, 1], &[0.0f32, 5.0, 6.0]).unwrap();
        let y = attention_decode(&token, &cache, &lengths, Attention::CAUSAL)
            .unwrap()
            .read::<f32>()
            .unwrap();
        close(&y, &[4.0]);
        assert_eq!(cache.k.read::<f32>().unwrap(), [1.0, 5.0]);
        assert_eq!(cache.v.read::<f32>().unwrap(), [2.0, 6.0]);
        advance(&lengths, 1, 2).unwrap();
        assert_eq!(lengths.read::<u32>().unwrap(), [2]);
    }
}
