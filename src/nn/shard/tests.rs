use super::*;
use crate::gpu::Options;
use crate::nn::{Adam, Init, MomentType, Parameters};
use crate::ops::optim::adam::Hyper;
use crate::parallel::{Communicator, ThreadRank};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ranks whose longest message is noted, in bytes.
struct Measured {
    ranks: Ranks,
    longest: Arc<AtomicUsize>,
}

impl Measured {
    fn note(&self, bytes: usize) {
        self.longest.fetch_max(bytes, Ordering::Relaxed);
    }
}

impl Communicator for Measured {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }
    fn size(&self) -> usize {
        self.ranks.size()
    }
    fn exchange(&self, _: &[u32]) -> Result<Vec<u32>> {
        Err(Error::data("nothing is exchanged here"))
    }
    fn gather(&self, words: &[u32]) -> Result<Vec<u32>> {
        self.note(4 * words.len() * self.size());
        self.ranks.gather_words(words)
    }
    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.note(bytes.len());
        self.ranks.broadcast(bytes.to_vec())
    }
    fn copy_of(&self, root: usize, words: &mut [u32]) -> Result<()> {
        self.note(4 * words.len());
        self.ranks.copy_words_of(root, words)
    }
}

/// Parameters in several parts and an optimiser over them, after two steps.
fn trained(moments: MomentType, ranks: &Ranks) -> (Parameters, Adam) {
    let gpu = Gpu::new(Options {
        parameter_part: Some(1 << 10),
        ..Default::default()
    })
    .unwrap();
    let mut b = Parameters::builder();
    let shapes: [(&str, &[usize]); 4] =
        [("a", &[7, 13]), ("b", &[3]), ("c", &[70, 9]), ("d", &[64])];
    for (name, shape) in shapes {
        b.declare(name, shape, Init::Normal(1.0));
    }
    let params = b.build(&gpu, 4).unwrap();
    assert!(params.parts().len() > 1);
    let mut adam = Adam::without_moments(&params, Hyper::default(), moments).unwrap();
    adam.shard(ranks);
    for _ in 0..2 {
        let gradients = params.handles().map(|handle| {
            let tensor = params.get(handle).unwrap().duplicate().unwrap();
            (handle, tensor)
        });
        adam.step(&params, &gradients.collect::<Vec<_>>()).unwrap();
    }
    (params, adam)
}

/// A rank that reads the moments of all gets those of an optimiser that keeps them all, by messages
/// that are no longer than a tensor; the others answer.
#[test]
fn moments_are_brought_together_one_at_a_time() {
    for (moments, size) in [
        (MomentType::F32, 3),
        (MomentType::F32, 2),
        (MomentType::Bf16 { seed: 3 }, 3),
    ] {
        let whole = trained(moments, &Ranks::alone()).1.save().unwrap();
        std::thread::scope(|scope| {
            for ranks in ThreadRank::group(size) {
                let whole = &whole;
                scope.spawn(move || {
                    let longest = Arc::new(AtomicUsize::new(0));
                    let rank = ranks.rank();
                    let ranks = Ranks::of(Arc::new(Measured {
                        ranks,
                        longest: longest.clone(),
                    }));
                    let (_params, adam) = trained(moments, &ranks);
                    longest.store(0, Ordering::Relaxed);
                    if rank > 0 {
                        loop {
                            let said = ranks.broadcast(Vec::new()).unwrap();
                            let Some(asked) = MomentRequest::from_bytes(&said[1..]) else {
                                break;
                            };
                            assert_eq!(said, asked.to_bytes());
                            adam.answer(asked).unwrap();
                        }
                        return;
                    }
                    adam.read_by(Reading::Asking);
                    let mut names = 0;
                    for (saved, wanted) in adam.saved().unwrap().iter().zip([&whole.m, &whole.v]) {
                        for tensor in saved {
                            let (shape, values) = &wanted[&tensor.name];
                            assert_eq!(tensor.shape, *shape);
                            assert_eq!(tensor.read().unwrap(), *values, "{}", tensor.name);
                            assert!(values.iter().any(|v| *v != 0.0), "{}", tensor.name);
                            names += 1;
                        }
                    }
                    assert_eq!(names, 8);
                    ranks.broadcast(vec![b'e']).unwrap();
                    let longest = longest.load(Ordering::Relaxed);
                    assert!((1..=4 * 70 * 9).contains(&longest), "{longest}");
                    adam.read_by(Reading::Over);
                    let [first, _] = adam.saved().unwrap();
                    let error = first[0].read().unwrap_err().to_string();
                    assert!(error.contains("no longer"), "{error}");
                });
            }
        });
    }
}

#[test]
fn a_moment_that_there_is_not_is_refused() {
    let ranks = ThreadRank::group(2);
    let gpu = Gpu::new(Options::default()).unwrap();
    let mut b = Parameters::builder();
    b.declare("a", &[200], Init::Ones);
    let params = b.build(&gpu, 4).unwrap();
    let mut adam = Adam::without_moments(&params, Hyper::default(), MomentType::F32).unwrap();
    let asked = |arena, slot| MomentRequest { arena, slot };
    assert!(adam.answer(asked(0, 0)).is_err());
    adam.shard(&ranks[1]);
    for (arena, slot) in [(2, 0), (0, 1), (u32::MAX, u32::MAX)] {
        assert!(adam.answer(asked(arena, slot)).is_err(), "{arena} {slot}");
    }
    for bytes in [&b""[..], b"12345678901", b"1234"] {
        assert_eq!(MomentRequest::from_bytes(bytes), None);
    }
}
