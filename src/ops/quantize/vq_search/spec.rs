//! The registry's row.

use super::{
    coopmat, few_channels, half_norm_kernel, kernel, nearest, nearest_by_tiles, pick_kernel,
    reference, resident, work,
};
use crate::Result;
use crate::gpu::kernel::gemm::{OperandLayout, Tile};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, Verdict, case, cases, excerpt,
    refused,
};

/// The registry's row of [`nearest`].
pub struct VqSearch;

impl Operation for VqSearch {
    fn name(&self) -> &'static str {
        "vq_search"
    }
    fn cases(&self) -> Vec<Case> {
        let cases = [
            (1, 1, 1),
            (7, 3, 5),
            (65, 33, 4),
            (257, 100, 17),
            (1_031, 512, 64),
            (130, 65, 256),
            (300, 9, 8),
            (77, 31, 16),
            (261, 130, 32),
            (67, 19, 128),
            (70, 1_100, 36),
            (600, 1_100, 3),
            (270, 70, 6),
            (150, 700, 11),
            (520, 129, 12),
            (300, 1_030, 13),
            (900, 600, 8),
            // Enough for several latents an invocation on a GPU, too.
            (8_300, 4_100, 4),
            (2_000, 6_200, 13),
        ]
        .map(|(n, k, d)| case(&[("n", n), ("k", k), ("d", d)]));
        let by_tiles = [(65, 33, 4), (70, 1_100, 8), (77, 31, 16), (67, 90, 9)]
            .map(|(n, k, d)| case(&[("n", n), ("k", k), ("d", d), ("tiles", 1)]));
        let cases = [&cases[..], &by_tiles].concat();
        let halves = cases.iter().filter_map(|c| self.in_f16(c));
        cases.iter().cloned().chain(halves).collect()
    }
    fn bench(&self) -> Vec<Case> {
        let mut all = cases(
            ["n", "k", "d"],
            &[[16_384, 1024, 64], [4_096, 8_192, 64], [16_384, 512, 256]],
        );
        // Few channels, and what the core's tiles take for them.
        for few in cases(
            ["n", "k", "d"],
            &[[16_384, 16_384, 8], [16_384, 16_384, 16], [256, 65_536, 8]],
        ) {
            all.extend([few.clone(), few.and("tiles", 1)]);
        }
        all
    }
    fn halves(&self) -> &'static [usize] {
        &[0]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        vec![rng.normals(&[n, d]), rng.normals(&[k, d])]
    }
    /// With `tiles=1` by the core's tiles, whatever the channels.
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let search = match case.get("tiles") {
            0 => nearest,
            _ => nearest_by_tiles,
        };
        Ok(vec![search(&inputs[0], &inputs[1])?])
    }
    /// Some of the latents.
    fn excerpt(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        let n = case.get("n");
        let chosen = excerpt::spread(n, excerpt::affordable(n, self.work(case).flops, flops));
        let x = excerpt::rows(&inputs[0], &chosen);
        let part = got
            .iter()
            .map(|index| excerpt::rows(index, &chosen))
            .collect();
        Some((
            case.with("n", chosen.len()),
            vec![x, inputs[1].clone()],
            part,
        ))
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let d = case.get("d");
        vec![HostTensor::u32(
            &[case.get("n")],
            reference::nearest(inputs[0].as_f64(), inputs[1].as_f64(), d),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    /// Equal indices, except where the two distances differ by less than f32 can tell: the sum of
    /// `d` products of f32 values errs by at most `d` units in the last place of its terms.
    fn compare(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        want: &[HostTensor],
    ) -> Option<Verdict> {
        let d = case.get("d");
        let wide: Vec<HostTensor> = inputs.iter().map(HostTensor::widened).collect();
        let (x, e) = (wide[0].as_f64(), wide[1].as_f64());
        let (got, want) = (got.first()?.as_u32(), want.first()?.as_u32());
        let mut verdict = Verdict {
            compared: got.len(),
            worst: 0.0,
            max_error: 0.0,
            detail: format!("vq_search({case}): {} indices", got.len()),
            pass: got.len() == want.len() && !got.is_empty(),
        };
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            if g == w {
                continue;
            }
            let row = &x[i * d..(i + 1) * d];
            let code = |k: u32| e.get(k as usize * d..(k as usize + 1) * d);
            let gap = code(*g).map_or(f64::INFINITY, |c| {
                reference::distance(row, c) - reference::distance(row, code(*w).unwrap_or(row))
            });
            let norm: f64 = row.iter().map(|v| v.abs()).fold(0.0, f64::max);
            let allowed = (d as f64 + 4.0) * (norm + 1.0).powi(2) * 2f64.powi(-23);
            if !(gap <= allowed) {
                verdict.pass = false;
                verdict.detail =
                    format!("vq_search({case})[{i}]: got {g}, expected {w}, {gap:e} farther");
            }
            verdict.worst = verdict.worst.max(gap / allowed);
            verdict.max_error = verdict.max_error.max(gap);
        }
        Some(verdict)
    }
    fn work(&self, case: &Case) -> Work {
        let work = work(case.get("n"), case.get("k"), case.get("d"));
        Work {
            bytes: work.bytes - (2 * case.get("half") * case.get("n") * case.get("d")) as f64,
            ..work
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let own = resident::kernels().chain(few_channels::kernels());
        let mut all: Vec<Kernel> = own.chain(coopmat::kernels()).collect();
        all.extend([half_norm_kernel(), pick_kernel()]);
        let forms = [(false, false), (true, false), (true, true)];
        let both = |tile: Tile, (vec, half)| {
            let whole = vec && tile.has_whole(OperandLayout::K, OperandLayout::K);
            let of = move |whole| [false, true].map(|split| kernel(tile, vec, half, split, whole));
            of(false)
                .into_iter()
                .chain(whole.then(|| of(true)).into_iter().flatten())
        };
        all.extend(
            Tile::exact()
                .into_iter()
                .flat_map(|tile| forms.into_iter().flat_map(move |form| both(tile, form))),
        );
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[3, 4], DType::F32)?;
        let empty = Tensor::zeros(gpu, &[0, 4], DType::F32)?;
        let wide = Tensor::zeros(gpu, &[3, 5], DType::F32)?;
        Ok(vec![
            refused("no codes", nearest(&x, &empty)),
            refused("codes of another size", nearest(&x, &wide)),
        ])
    }
}
