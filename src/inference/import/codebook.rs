//! Codebooks that others trained, by the names of their state dicts.

use super::names::{ANCHOR, CODEBOOK, Names};
use super::source;
use super::weights::Weights;
use crate::vectors::{Codebooks, Structure};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Codebooks of another program's quantizer.
#[derive(Clone, Debug)]
pub struct ImportedCodebook {
    /// The prefix that the names had.
    pub prefix: String,
    /// The program, or programs, that name codebooks so.
    pub program: &'static str,
    /// Whether its codes were brought to length 1.
    pub cosine: bool,
    /// The codebooks.
    pub codebooks: Codebooks,
}

/// Numbers of codes that any map may make.
const SMALL: usize = 1 << 24;
/// The most numbers of codes that a map makes of each that a file holds.
const MOST_TIMES: usize = 64;

/// A way to name codebooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    /// `layers.0._codebook.embed` [1, K, D] or [K, D]: one after another.
    Layers,
    /// `_codebook.embed` [H, K, D], H heads side by side, or [K, D].
    Lucidrains,
    /// `frozen_codebook` [K, D'], of which `code_transform.weight` [D, D'] makes codes.
    SimVq,
    /// `embedding.weight` [K, D].
    Embedding,
    /// `embeddings` [D, K].
    Sonnet,
    /// `embed` [D, K] beside `cluster_size`.
    Columns,
}

impl Layout {
    const ALL: [Layout; 6] = [
        Layout::Layers,
        Layout::Lucidrains,
        Layout::SimVq,
        Layout::Embedding,
        Layout::Sonnet,
        Layout::Columns,
    ];

    /// The ends of the names of its tensors; those of the first layer.
    fn ends(self) -> &'static [&'static str] {
        match self {
            Layout::Layers => &["layers.0._codebook.embed", "layers.0.codebook.embed"],
            Layout::Lucidrains => &["_codebook.embed", "codebook.embed"],
            Layout::SimVq => &["frozen_codebook"],
            Layout::Embedding => &["embedding.weight", "_embedding.weight"],
            Layout::Sonnet => &["embeddings", "embeddings:0"],
            Layout::Columns => &["embed"],
        }
    }

    fn program(self) -> &'static str {
        match self {
            Layout::Layers => "ResidualVQ of vector-quantize-pytorch, Encodec",
            Layout::Lucidrains => "VectorQuantize of vector-quantize-pytorch",
            Layout::SimVq => "SimVQ of vector-quantize-pytorch",
            Layout::Embedding => "an embedding of PyTorch",
            Layout::Sonnet => "Sonnet, Haiku",
            Layout::Columns => "a codebook in columns, as in VQ-VAE-2 in PyTorch",
        }
    }
}

/// A codebook in a file: the layout, the prefix, and what follows that.
struct Found<'a> {
    layout: Layout,
    prefix: &'a str,
    end: &'a str,
}

/// Reads the codebooks of a quantizer from a state dict in safetensors, in one file or several as
/// [`read`](super::read) takes them: vector-quantize-pytorch's
/// `VectorQuantize`, `ResidualVQ` and `SimVQ`, Encodec's, those of Sonnet and Haiku, and embeddings
/// of PyTorch. `prefix` says which where there are several; `cosine` whether codes are brought to
/// length 1, as LlamaGen and Janus do with theirs unless it says otherwise.
///
/// # Errors
/// If the file cannot be read, holds no codebook or several, or the quantizer maps vectors or codes
/// in a way that codebooks alone cannot; the message names the tensor.
pub fn read_codebook(
    path: &Path,
    prefix: Option<&str>,
    cosine: Option<bool>,
) -> Result<ImportedCodebook> {
    let path = &source::weights(path)?;
    let weights = Weights::open(path)?;
    let at = |e: Error| Error::file(path, e);
    let names = weights.names();
    let advised = |e: Error| Error::file(path, format!("{e}{}", source::advice(path)));
    let found = choose(&names, prefix).map_err(advised)?;
    refuse(&names, found.prefix).map_err(at)?;
    let mut codebooks = load(path, &weights, &found)?;
    let cosine = cosine.unwrap_or_else(|| of_length_1(&names, &found));
    if cosine {
        let [_, _, d] = codebooks.shape();
        let values = codebooks.values().chunks(d).flat_map(unit_row).collect();
        codebooks = Codebooks::new(codebooks.structure(), codebooks.shape(), values).map_err(at)?;
    }
    Ok(ImportedCodebook {
        prefix: found.prefix.trim_end_matches(['.', '/']).to_owned(),
        program: found.layout.program(),
        cosine,
        codebooks,
    })
}

/// Returns whether a codebook is that of a tokenizer whose latents and codes have length 1.
fn of_length_1(names: &[&str], found: &Found) -> bool {
    let name = format!("{}{}", found.prefix, found.end);
    let Some(prefix) = name.strip_suffix(CODEBOOK) else {
        return false;
    };
    let own: Vec<&str> = names
        .iter()
        .filter_map(|n| n.strip_prefix(prefix))
        .collect();
    let scheme = Names::of(own.iter().copied());
    own.contains(&ANCHOR) && matches!(scheme, Ok(Names::LlamaGen | Names::Janus))
}

/// Returns a row divided by its length, where it has one.
fn unit_row(row: &[f32]) -> Vec<f32> {
    let squares = row.iter().map(|v| f64::from(*v).powi(2));
    let length = squares.sum::<f64>().sqrt().max(1e-12);
    row.iter()
        .map(|v| (f64::from(*v) / length) as f32)
        .collect()
}

/// Returns the codebooks among the tensors of these names.
fn all<'a>(names: &[&'a str]) -> Vec<Found<'a>> {
    let mut by_prefix: BTreeMap<&str, Found> = BTreeMap::new();
    let known: &BTreeSet<&str> = &names.iter().copied().collect();
    for name in names {
        let of = |layout: Layout| {
            let ends = layout.ends().iter();
            let mut own = ends.filter_map(move |end| {
                let prefix = name.strip_suffix(end)?;
                let whole = prefix.is_empty() || prefix.ends_with(['.', '/']);
                // A column's counts lie beside it.
                let counted = layout != Layout::Columns
                    || known.contains(format!("{prefix}cluster_size").as_str());
                let end = &name[prefix.len()..];
                (whole && counted).then_some(Found {
                    layout,
                    prefix,
                    end,
                })
            });
            own.next()
        };
        if let Some(found) = Layout::ALL.into_iter().find_map(of) {
            by_prefix.insert(found.prefix, found);
        }
    }
    // A layer behind the first, and what a codebook holds for itself, are of what has them.
    let outer: Vec<String> = by_prefix
        .values()
        .filter(|found| found.layout == Layout::Layers)
        .map(|found| format!("{}layers.", found.prefix))
        .collect();
    let own = |found: &Found| {
        let within = ["_codebook.", "codebook."];
        let inside = within.iter().any(|part| found.prefix.ends_with(part));
        !inside && !outer.iter().any(|outer| found.prefix.starts_with(outer))
    };
    by_prefix.into_values().filter(own).collect()
}

fn choose<'a>(names: &[&'a str], asked: Option<&str>) -> Result<Found<'a>> {
    let bare = |prefix: &str| prefix.trim_end_matches(['.', '/']).to_owned();
    let found = all(names);
    let list = |found: &[Found]| {
        let shown = found.iter().map(|f| format!("`{}`", bare(f.prefix)));
        shown.collect::<Vec<_>>().join(", ")
    };
    if found.is_empty() {
        return Err(Error::data(
            "holds no codebook: neither `_codebook.embed` nor `layers.0._codebook.embed` \
             (vector-quantize-pytorch), `embeddings` (Sonnet, Haiku) or `embedding.weight`. FSQ \
             and LFQ have none: their codes follow from a rule, as with --quantizer fsq or lfq",
        ));
    }
    let several = |found: Vec<Found>| {
        let (count, list) = (found.len(), list(&found));
        let what = format!("holds {count} codebooks: {list}; say which by --prefix");
        Error::data(what)
    };
    match asked.map(bare) {
        None => <[Found; 1]>::try_from(found)
            .map(|[only]| only)
            .map_err(several),
        Some(asked) => {
            let list = list(&found);
            let mut own = found.into_iter().filter(|f| bare(f.prefix) == asked);
            own.next().ok_or_else(|| {
                let what =
                    format!("holds no codebook behind the prefix `{asked}`: there are {list}");
                Error::data(what)
            })
        }
    }
}

/// Refuses quantizers that are more than their codebooks.
fn refuse(names: &[&str], prefix: &str) -> Result<()> {
    for (part, key, what) in [
        (
            "project_in.",
            "codebook_dim",
            "vectors are mapped to the codes' channels first: apply `project_in` to them, and \
             leave it out of the file",
        ),
        (
            "mlps.",
            "implicit_neural_codebook",
            "codes depend on those before them: there are no codebooks to compare with",
        ),
        (
            "_codebook.codebook_mean",
            "affine_param",
            "codes are moved with the batches' means: write the moved ones as `_codebook.embed`",
        ),
        (
            "_codebook.vq_bridge.",
            "vq_bridge",
            "codes are mapped before they are compared: write the mapped ones as \
             `_codebook.embed`",
        ),
    ] {
        let own = |name: &&&str| {
            let rest = name.strip_prefix(prefix);
            rest.is_some_and(|rest| {
                let rest = layer(rest).map_or(rest, |(_, behind)| behind);
                let inner = rest.split_once("_codebook.").map(|(_, last)| last);
                let part_inner = part.strip_prefix("_codebook.");
                rest.starts_with(part)
                    || part_inner.is_some_and(|p| inner.is_some_and(|i| i.starts_with(p)))
            })
        };
        if let Some(name) = names.iter().find(own) {
            return Err(Error::data(format!("`{name}` is of `{key}`: {what}")));
        }
    }
    Ok(())
}

/// Returns the number of the layer that a name behind a prefix is of, and the name behind that.
fn layer(rest: &str) -> Option<(usize, &str)> {
    let (number, behind) = rest.strip_prefix("layers.")?.split_once('.')?;
    Some((number.parse().ok()?, behind))
}

fn load(path: &Path, weights: &Weights, found: &Found) -> Result<Codebooks> {
    let read = |name: &str| weights.read(name);
    let name = format!("{}{}", found.prefix, found.end);
    let (shape, values) = read(&name)?;
    let wrong = |name: &str, shape: &[usize], wanted: &str| {
        let what = format!("the tensor `{name}` has shape {shape:?}: {wanted} was expected");
        Error::file(path, what)
    };
    let (structure, shape, values) = match (found.layout, &shape[..]) {
        (Layout::Layers, [1, k, d] | [k, d]) => {
            let mut all = values;
            let mut count = 1;
            loop {
                let next = found.end.replacen(".0.", &format!(".{count}."), 1);
                let next = format!("{}{next}", found.prefix);
                if !weights.has(&next) {
                    break;
                }
                let (own, values) = read(&next)?;
                if own != shape {
                    let wanted = format!("{shape:?}, that of the first layer,");
                    return Err(wrong(&next, &own, &wanted));
                }
                all.extend(values);
                count += 1;
            }
            let beyond = |name: &&&str| {
                let of = name.strip_prefix(found.prefix).and_then(layer);
                of.is_some_and(|(number, _)| number >= count)
            };
            if let Some(beyond) = weights.names().iter().find(beyond) {
                let missing = found.end.replacen(".0.", &format!(".{count}."), 1);
                let what = format!(
                    "has no tensor `{}{missing}`, and yet `{beyond}`: a layer has lost its \
                     codebook, or has none of its own (a shared one must be in the file for each)",
                    found.prefix
                );
                return Err(Error::file(path, what));
            }
            (Structure::Residual, [count, *k, *d], all)
        }
        (Layout::Lucidrains, [1, k, d]) | (Layout::Lucidrains | Layout::Embedding, [k, d]) => {
            (Structure::Kmeans, [1, *k, *d], values)
        }
        (Layout::Lucidrains, [heads, k, d]) => (Structure::Product, [*heads, *k, *d], values),
        (Layout::Sonnet | Layout::Columns, [d, k]) => {
            let turned = (0..k * d).map(|at| values[at % d * k + at / d]).collect();
            (Structure::Kmeans, [1, *k, *d], turned)
        }
        (Layout::SimVq, [k, from]) => {
            let map_name = format!("{}code_transform.weight", found.prefix);
            let (of, map) = read(&map_name)?;
            let d = match &of[..] {
                [d, inputs] if inputs == from => *d,
                _ => return Err(wrong(&map_name, &of, &format!("[D, {from}]"))),
            };
            let stored = values.len() + map.len();
            let allowed = SMALL.max(stored.saturating_mul(MOST_TIMES));
            if k.checked_mul(d).is_none_or(|codes| codes > allowed) {
                let what = format!(
                    "`{name}` and `{map_name}` make {k} codes of {d} numbers of {stored}: at most \
                     {MOST_TIMES} times as many are made"
                );
                return Err(Error::file(path, what));
            }
            let dot = |a: &[f32], b: &[f32]| {
                let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                products.sum::<f64>() as f32
            };
            let (frozen, rows) = (values.chunks((*from).max(1)), || map.chunks((*from).max(1)));
            let codes = frozen.flat_map(|code| rows().map(move |row| dot(code, row)));
            (Structure::Kmeans, [1, *k, d], codes.collect())
        }
        (_, shape) => return Err(wrong(&name, shape, "a codebook [K, D] or [H, K, D]")),
    };
    Codebooks::new(structure, shape, values).map_err(|e| Error::file(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codebooks_are_found_by_their_names() {
        let of = |names: &[&str], prefix: Option<&str>| {
            choose(names, prefix)
                .map(|found| (found.layout, found.prefix.to_owned()))
                .map_err(|e| e.to_string())
        };
        let residual = [
            "quantizer.layers.0._codebook.embed",
            "quantizer.layers.0._codebook.cluster_size",
            "quantizer.layers.0._codebook.embed_avg",
            "quantizer.layers.1._codebook.embed",
            "quantizer.layers.1._codebook.cluster_size",
        ];
        let found = of(&residual, None).unwrap();
        assert_eq!(found, (Layout::Layers, "quantizer.".into()));
        let found = of(&["_codebook.embed", "_codebook.cluster_size"], None).unwrap();
        assert_eq!(found, (Layout::Lucidrains, String::new()));
        let found = of(&["vq/~/embeddings", "vq/~/ema_dw/average"], None).unwrap();
        assert_eq!(found, (Layout::Sonnet, "vq/~/".into()));
        let columns = ["quantize_t.embed", "quantize_t.cluster_size", "other.embed"];
        let found = of(&columns, None).unwrap();
        assert_eq!(found, (Layout::Columns, "quantize_t.".into()));
        let two = [
            "rvqs.0.layers.0._codebook.embed",
            "rvqs.1.layers.0._codebook.embed",
        ];
        let error = of(&two, None).unwrap_err();
        assert!(
            error.contains("`rvqs.0`, `rvqs.1`") && error.contains("--prefix"),
            "{error}"
        );
        assert_eq!(of(&two, Some("rvqs.1")).unwrap().1, "rvqs.1.");
        let error = of(&two, Some("rvqs")).unwrap_err();
        assert!(error.contains("`rvqs.0`"), "{error}");
        let error = of(&["project_in.weight"], None).unwrap_err();
        assert!(error.contains("FSQ"), "{error}");
    }

    #[test]
    fn what_codebooks_alone_cannot_do_is_named() {
        for (name, key) in [
            ("q.project_in.weight", "codebook_dim"),
            ("q._codebook.codebook_mean", "affine_param"),
            ("q.layers.2._codebook.codebook_mean", "affine_param"),
            ("q.mlps.0.x", "implicit_neural_codebook"),
            ("q.layers.0.project_in.weight", "codebook_dim"),
            ("q.layers.11.mlps.0.x", "implicit_neural_codebook"),
        ] {
            let error = refuse(&[name], "q.").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(key), "{error}");
        }
        refuse(&["q._codebook.embed", "project_in.weight"], "q.").unwrap();
    }
}
