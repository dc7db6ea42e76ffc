//! Quantizing vectors: searching a codebook, making one by k-means, finite scalars.

use crate::errors::OrRaise;
use crate::gpu::Gpu;
use numpy::PyUntypedArrayMethods;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use wgvq::gpu::Tensor;
use wgvq::ops::quantize::kmeans::kmeans as clusters;
use wgvq::ops::quantize::vq_search::nearest;
use wgvq::{Error, Result, kernels};

type Indices<'py> = Bound<'py, PyArray1<u32>>;
type Rows<'py> = Bound<'py, PyArray2<f32>>;

/// Bytes of vectors that are on the device at a time, at most.
const BYTES: usize = 64 << 20;
/// Rounds of k-means at most: it settles in some hundred.
const MOST_ROUNDS: usize = 10_000;

/// Returns the rows of `d` numbers that are taken at a time.
fn rows(gpu: &wgvq::gpu::Gpu, d: usize) -> usize {
    let binding = gpu.limits().max_storage_buffer_binding_size as usize;
    (BYTES.min(binding) / (4 * d.max(1))).max(1)
}

/// The index of the nearest of `codebook` [K, D] to each of `vectors` [N, D].
#[pyfunction]
pub fn search<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    vectors: PyReadonlyArray2<f32>,
    codebook: PyReadonlyArray2<f32>,
) -> PyResult<Indices<'py>> {
    let (shape, of) = (vectors.shape().to_vec(), codebook.shape().to_vec());
    // What is read without the interpreter's lock is copied under it: others may write arrays.
    let (vectors, codebook) = (vectors.as_slice()?, codebook.as_slice()?.to_vec());
    let engine = gpu.engine()?;
    if shape[1] == 0 {
        let what = "vectors [N, D] of at least one number";
        return Err(Error::shape("search", what, format!("{shape:?}"))).or_raise();
    }
    let [d, each] = [shape[1], rows(engine, shape[1])];
    let codes = py
        .detach(|| Tensor::from_slice(engine, &of, &codebook))
        .or_raise()?;
    let mut found = Vec::with_capacity(shape[0]);
    for part in vectors.chunks(each * d) {
        let part = part.to_vec();
        let search = || -> Result<Vec<u32>> {
            let part = Tensor::from_slice(engine, &[part.len() / d, d], &part)?;
            nearest(&part, &codes)?.read::<u32>()
        };
        found.extend(py.detach(search).or_raise()?);
        py.check_signals()?;
    }
    Ok(PyArray1::from_vec(py, found))
}

/// The rows of `codebook` [K, D] that `indices` name.
#[pyfunction]
pub fn lookup<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    codebook: PyReadonlyArray2<f32>,
    indices: PyReadonlyArray1<u32>,
) -> PyResult<Rows<'py>> {
    let of = codebook.shape().to_vec();
    let (codebook, indices) = (codebook.as_slice()?.to_vec(), indices.as_slice()?.to_vec());
    let engine = gpu.engine()?;
    let look = || -> Result<Vec<f32>> {
        let codes = Tensor::from_slice(engine, &of, &codebook)?;
        let mut found = Vec::with_capacity(indices.len() * of[1]);
        for part in indices.chunks(rows(engine, of[1])) {
            let part = Tensor::from_slice(engine, &[part.len()], part)?;
            found.extend(kernels::lookup(engine, &codes, &part)?.read::<f32>()?);
        }
        Ok(found)
    };
    let found = py.detach(look).or_raise()?;
    PyArray1::from_vec(py, found).reshape([indices.len(), of[1]])
}

/// The means of `codes` clusters of vectors [N, D], and how many vectors each has.
#[pyfunction]
pub fn kmeans<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    vectors: PyReadonlyArray2<f32>,
    codes: usize,
    rounds: usize,
    seed: u64,
) -> PyResult<(Rows<'py>, Indices<'py>)> {
    let shape = vectors.shape().to_vec();
    let vectors = vectors.as_slice()?.to_vec();
    let engine = gpu.engine()?;
    if rounds > MOST_ROUNDS {
        let what = format!("{rounds}: at most {MOST_ROUNDS}, which cannot be interrupted");
        return Err(Error::config("the argument `rounds`", what)).or_raise();
    }
    let cluster = || -> Result<(Vec<f32>, Vec<u32>)> {
        let x = Tensor::from_slice(engine, &shape, &vectors)?;
        let found = clusters(&x, codes, rounds, seed)?;
        Ok((found.means.read::<f32>()?, found.counts.read::<u32>()?))
    };
    let (means, counts) = py.detach(cluster).or_raise()?;
    let means = PyArray1::from_vec(py, means).reshape([codes, shape[1]])?;
    Ok((means, PyArray1::from_vec(py, counts)))
}

/// Finite scalar quantization of vectors [N, D], of so many levels a channel: what they become, and
/// the index of each.
#[pyfunction]
pub fn fsq<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    vectors: PyReadonlyArray2<f32>,
    levels: Vec<usize>,
) -> PyResult<(Rows<'py>, Indices<'py>)> {
    let shape = vectors.shape().to_vec();
    let vectors = vectors.as_slice()?.to_vec();
    let engine = gpu.engine()?;
    let quantize = || -> Result<(Vec<f32>, Vec<u32>)> {
        let x = Tensor::from_slice(engine, &shape, &vectors)?;
        let (values, indices) = kernels::fsq(engine, &x, &levels)?;
        Ok((values.read::<f32>()?, indices.read::<u32>()?))
    };
    let (values, indices) = py.detach(quantize).or_raise()?;
    let values = PyArray1::from_vec(py, values).reshape([shape[0], shape[1]])?;
    Ok((values, PyArray1::from_vec(py, indices)))
}
