//! Numbers that other libraries wrote, to be compared with.

use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::nn::{Handle, HostTensors, Parameters};
use wgvq::storage::weights;

/// A file of `tests/fixtures`.
pub struct Fixture {
    /// The path there, without the ending.
    pub name: String,
    /// The file's own entries about it.
    pub metadata: BTreeMap<String, serde_json::Value>,
    pub floats: HostTensors,
    pub words: BTreeMap<String, Vec<u32>>,
}

impl Fixture {
    pub fn load(name: &str) -> Fixture {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = metadata.metadata().iter().flatten();
        let json = |text: &str| serde_json::from_str(text).unwrap_or(text.into());
        let mut fixture = Fixture {
            name: name.into(),
            metadata: metadata.map(|(k, v)| (k.clone(), json(v))).collect(),
            floats: HostTensors::new(),
            words: BTreeMap::new(),
        };
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let words = view.data().as_chunks::<4>().0.iter().copied();
            if view.dtype() == Dtype::F32 {
                let values = words.map(f32::from_le_bytes).collect();
                fixture.floats.insert(name, (view.shape().to_vec(), values));
            } else {
                let values = words.map(u32::from_le_bytes).collect();
                fixture.words.insert(name, values);
            }
        }
        fixture
    }

    /// Returns the values of that name.
    pub fn floats(&self, name: &str) -> &[f32] {
        &self.floats[name].1
    }

    pub fn tensor(&self, gpu: &Gpu, name: &str) -> Tensor {
        let (shape, values) = &self.floats[name];
        Tensor::from_slice(gpu, shape, values).unwrap()
    }

    /// Returns the tensors whose names begin with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> HostTensors {
        let of = self
            .floats
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone())));
        of.collect()
    }

    /// Checks that these are the values of that name, up to a share of the largest of them.
    pub fn close(&self, name: &str, got: &[f32], share: f32) {
        close(
            &format!("{}: {name}", self.name),
            got,
            self.floats(name),
            share,
        );
    }

    /// Checks that these are the gradients of all parameters. Of each the file has its norm, its
    /// sum against a pattern and its first element, in PyTorch's layout. `slack` is what rounding
    /// leaves of a gradient that should be 0.
    pub fn gradients_agree(&self, params: &Parameters, gradients: &[(Handle, Tensor)], slack: f64) {
        assert_eq!(gradients.len(), self.under("grad.").len());
        for (handle, gradient) in gradients {
            let name = params.name(*handle);
            let host = (gradient.shape().to_vec(), gradient.read::<f32>().unwrap());
            let g = weights::export(host).to_f32().unwrap();
            let g: Vec<f64> = g.into_iter().map(f64::from).collect();
            let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
            let pattern = super::pattern(name, g.len());
            let along: f64 = g.iter().zip(pattern).map(|(g, p)| g * p).sum();
            for (got, want) in [norm, along, g[0]]
                .into_iter()
                .zip(self.floats(&format!("grad.{name}")))
            {
                assert!(
                    (got - f64::from(*want)).abs() <= 3e-5 * norm + slack,
                    "{}: gradient of {name}: {got} for {want}, norm {norm}",
                    self.name
                );
            }
        }
    }
}

/// Checks that the values are those that are wanted, up to a share of the largest.
pub fn close(what: &str, got: &[f32], want: &[f32], share: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= share * largest,
            "{what}[{i}]: {got} for {want}, of {largest} at most"
        );
    }
}
