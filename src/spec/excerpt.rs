//! Parts of large cases, so that checking one against its reference does not take longer than
//! timing it.

use super::{Data, HostTensor};

/// `take` indices of `0..n`, spread evenly and with the last among them: tails are where kernels go
/// wrong.
pub(crate) fn spread(n: usize, take: usize) -> Vec<usize> {
    let take = take.clamp(1, n.max(1)).min(n);
    (0..take)
        .map(|i| {
            if take == 1 {
                n - 1
            } else {
                i * (n - 1) / (take - 1)
            }
        })
        .collect()
}

/// Returns how many of `n` equal parts of a problem of `flops` fit a budget: at least one.
pub(crate) fn affordable(n: usize, flops: f64, budget: f64) -> usize {
    if flops <= budget {
        n
    } else {
        ((n as f64 * budget / flops) as usize).clamp(1, n.max(1))
    }
}

/// Returns the entries `chosen` along the first dimension.
pub(crate) fn rows(host: &HostTensor, chosen: &[usize]) -> HostTensor {
    let each = host.len() / host.shape.first().copied().unwrap_or(1).max(1);
    fn pick<T: Copy>(v: &[T], chosen: &[usize], each: usize) -> Vec<T> {
        chosen
            .iter()
            .flat_map(|r| v[r * each..(r + 1) * each].iter().copied())
            .collect()
    }
    let data = match &host.data {
        Data::F32(v) => Data::F32(pick(v, chosen, each)),
        Data::F64(v) => Data::F64(pick(v, chosen, each)),
        Data::U32(v) => Data::U32(pick(v, chosen, each)),
        Data::U8(v) => Data::U8(pick(v, chosen, each)),
    };
    let mut shape = host.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = chosen.len();
    }
    HostTensor { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_spread_and_end_at_the_end() {
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert_eq!(spread(7, 1), [6]);
        assert!(spread(0, 3).is_empty());
        assert_eq!(
            rows(&HostTensor::u32(&[3, 2], vec![0, 1, 2, 3, 4, 5]), &[0, 2]),
            HostTensor::u32(&[2, 2], vec![0, 1, 4, 5])
        );
        assert_eq!(affordable(100, 1e9, 1e8), 10);
        assert_eq!(affordable(100, 1e9, 1.0), 1);
    }
}
