//! The prior: its logits, loss and gradients against a reference in f64, and how it draws.

use crate::common::fixture::{Fixture, close};
use crate::common::gpu;
use crate::scalar::{S, Scalars};
use std::collections::BTreeMap;
use wgvq::autograd::Tape;
use wgvq::gpu::{Gpu, Options};
use wgvq::models::Level;
use wgvq::models::prior::{Pattern, Positions, Prior, Shape, TextKind, Vocabulary};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, HostTensors, MlpKind, NormKind, Parameters};
use wgvq::spec::Rng;

/// As in LLaMA: RMS norm, SwiGLU, rotary positions, tied.
fn llama() -> (Shape, Vocabulary) {
    let shape = Shape {
        layers: 4,
        dim: 16,
        heads: 2,
        hidden: 20,
        dropout: 0.0,
        ..Default::default()
    };
    (
        shape,
        Vocabulary {
            codebook_size: 11,
            codebooks: 1,
            grid: [3, 2],
            classes: 3,
            above: Vec::new(),
            text: None,
        },
    )
}

/// As in GPT-2: layer norm, GELU, learned positions, not tied; two codes a cell.
fn gpt() -> (Shape, Vocabulary) {
    let shape = Shape {
        layers: 4,
        dim: 12,
        heads: 3,
        hidden: 24,
        norm: NormKind::Layer,
        mlp: MlpKind::Gelu,
        positions: Positions::Learned,
        tied: false,
        dropout: 0.0,
        ..Default::default()
    };
    (
        shape,
        Vocabulary {
            codebook_size: 7,
            codebooks: 2,
            grid: [2, 2],
            classes: 2,
            above: Vec::new(),
            text: None,
        },
    )
}

/// Below two other levels, one of them with two codes a cell.
fn below() -> (Shape, Vocabulary) {
    let shape = Shape {
        layers: 2,
        dim: 8,
        heads: 2,
        hidden: 12,
        dropout: 0.0,
        condition_layers: 2,
        ..Default::default()
    };
    let level = |name: &str, grid, codebook_size, codebooks| Level {
        name: name.into(),
        grid,
        codebook_size,
        codebooks,
    };
    let above = vec![level("top", [2, 4], 4, 1), level("middle", [1, 2], 5, 2)];
    (
        shape,
        Vocabulary {
            codebook_size: 6,
            codebooks: 2,
            grid: [2, 4],
            classes: 2,
            above,
            text: None,
        },
    )
}

/// A prior below another level with learned positions and layer norms.
fn below_gpt() -> (Shape, Vocabulary) {
    let (_, mut v) = below();
    v.above.remove(0);
    let shape = Shape {
        layers: 1,
        dim: 6,
        heads: 1,
        hidden: 8,
        condition_layers: 1,
        ..gpt().0
    };
    (shape, v)
}

/// Text and codes in one sequence, as DALL-E's: sparse attention, learned positions.
fn dalle() -> (Shape, Vocabulary) {
    let shape = Shape {
        layers: 4,
        text: TextKind::Stream,
        attention: vec![
            Pattern::Row,
            Pattern::Column,
            Pattern::Full,
            Pattern::Convolution,
        ],
        attention_kernel: 3,
        ..gpt().0
    };
    let text = Some(Text {
        form: TextFormat::Tokens(9),
        length: 5,
    });
    (
        shape,
        Vocabulary {
            codebook_size: 7,
            codebooks: 1,
            grid: [3, 3],
            classes: 0,
            above: Vec::new(),
            text,
        },
    )
}

/// DALL-E's system with rotary positions, and two codes a cell.
fn dalle_rotary() -> (Shape, Vocabulary) {
    let shape = Shape {
        text: TextKind::Stream,
        text_weight: 0.3,
        attention: vec![Pattern::Row],
        layers: 2,
        ..llama().0
    };
    let text = Some(Text {
        form: TextFormat::Tokens(6),
        length: 4,
    });
    (
        shape,
        Vocabulary {
            codebook_size: 5,
            codebooks: 2,
            grid: [2, 3],
            classes: 0,
            above: Vec::new(),
            text,
        },
    )
}

/// An encoder of the text, as Parti's.
fn parti() -> (Shape, Vocabulary) {
    let shape = Shape {
        layers: 2,
        text_layers: 2,
        ..llama().0
    };
    let text = Some(Text {
        form: TextFormat::Tokens(8),
        length: 6,
    });
    (
        shape,
        Vocabulary {
            codebook_size: 6,
            codebooks: 1,
            grid: [2, 3],
            classes: 2,
            above: Vec::new(),
            text,
        },
    )
}

/// Rows of an encoder from elsewhere.
fn rows() -> (Shape, Vocabulary) {
    let text = Some(Text {
        form: TextFormat::Rows(3),
        length: 4,
    });
    (
        Shape {
            layers: 2,
            ..gpt().0
        },
        Vocabulary { text, ..gpt().1 },
    )
}

/// A text for each image: of several lengths, one that is as long as may be, and the last says
/// nothing.
fn texts(v: &Vocabulary, n: usize) -> Option<Texts> {
    let text = v.text?;
    let mut rng = Rng::new(21);
    let mut texts = match text.form {
        TextFormat::Tokens(size) => {
            let one = |i: usize| {
                (0..text.length - 2 - i % 2)
                    .map(|_| 2 + rng.below(size - 2) as u32)
                    .collect::<Vec<_>>()
            };
            Texts::of_tokens(&text, &(0..n).map(one).collect::<Vec<_>>()).unwrap()
        }
        TextFormat::Rows(channels) => {
            let one = |i: usize| {
                (0..channels * (text.length - i % 2))
                    .map(|_| rng.normal() as f32)
                    .collect::<Vec<_>>()
            };
            Texts::of_rows(&text, &(0..n).map(one).collect::<Vec<_>>()).unwrap()
        }
    };
    texts.hide(&text, n - 1);
    Some(texts)
}

fn every() -> [(Shape, Vocabulary); 8] {
    [
        llama(),
        gpt(),
        below(),
        below_gpt(),
        dalle(),
        dalle_rotary(),
        parti(),
        rows(),
    ]
}

fn build(gpu: &Gpu, shape: &Shape, vocabulary: &Vocabulary) -> (Prior, Parameters) {
    let mut b = Parameters::builder();
    let prior = Prior::new(gpu, &mut b, shape, vocabulary).unwrap();
    let params = b.build(gpu, 5).unwrap();
    // Initial weights are so small that attention hardly looks anywhere.
    let mut rng = Rng::new(17);
    let larger = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
        let mid = if name.contains("norm") && name.ends_with(".weight") {
            1.0
        } else {
            0.0
        };
        let values = values
            .iter()
            .map(|_| (mid + 0.3 * rng.normal()) as f32)
            .collect();
        (name, (shape, values))
    };
    let tensors: HostTensors = params.to_host().unwrap().into_iter().map(larger).collect();
    params.load_host(&tensors).unwrap();
    (prior, params)
}

fn images(v: &Vocabulary, n: usize, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut rng = Rng::new(seed);
    let mut codes = Vec::new();
    for _ in 0..n {
        for level in &v.above {
            codes.extend((0..level.codes()).map(|_| rng.below(level.codebook_size) as u32));
        }
        codes.extend((0..v.tokens()).map(|_| rng.below(v.codebook_size) as u32));
    }
    // The last sees no class.
    let classes = (0..n)
        .map(|i| {
            if i + 1 == n {
                v.no_class()
            } else {
                rng.below(v.classes.max(1)) as u32
            }
        })
        .collect();
    (classes, codes)
}

/// The model in plain arithmetic: van den Oord et al. 2017, section 4, with the parts of Vaswani et
/// al. 2017, Zhang and Sennrich 2019, Shazeer 2020 and Su et al. 2021.
struct Reference<'a> {
    s: &'a Scalars,
    shape: Shape,
    v: Vocabulary,
    params: BTreeMap<String, (Vec<usize>, Vec<S>)>,
}

/// The cells of a grid that rows stand in, and which row sees which.
struct Seen<'a> {
    columns: usize,
    cell: &'a dyn Fn(usize) -> usize,
    sees: &'a dyn Fn(usize, usize) -> bool,
}

impl Reference<'_> {
    fn row(&self, name: &str, i: usize) -> Vec<S> {
        let (shape, values) = &self.params[name];
        let d = shape[shape.len() - 1];
        values[i * d..][..d].to_vec()
    }

    fn add(&self, a: &[S], b: &[S]) -> Vec<S> {
        a.iter().zip(b).map(|(a, b)| self.s.add(*a, *b)).collect()
    }

    fn linear(&self, name: &str, x: &[S]) -> Vec<S> {
        (0..self.params[name].0[0])
            .map(|o| self.s.dot(&self.row(name, o), x))
            .collect()
    }

    fn norm(&self, name: &str, x: &[S]) -> Vec<S> {
        let (s, n) = (self.s, x.len() as f64);
        let centred = match self.shape.norm {
            NormKind::Rms => x.to_vec(),
            NormKind::Layer => {
                let mean = s.affine(s.sum(x), -1.0 / n, 0.0);
                x.iter().map(|x| s.add(*x, mean)).collect()
            }
        };
        let scale = s.pow(s.affine(s.dot(&centred, &centred), 1.0 / n, 1e-5), -0.5);
        let weight = self.row(&format!("{name}.weight"), 0);
        let y: Vec<S> = centred
            .iter()
            .zip(weight)
            .map(|(x, w)| s.mul(s.mul(*x, scale), w))
            .collect();
        match self.shape.norm {
            NormKind::Rms => y,
            NormKind::Layer => self.add(&y, &self.row(&format!("{name}.bias"), 0)),
        }
    }

    /// Pairs of channels turned by row and column.
    fn turned(&self, x: &[S], cell: usize, columns: usize) -> Vec<S> {
        if self.shape.positions == Positions::Learned {
            return x.to_vec();
        }
        let place = [cell / columns, cell % columns];
        let (s, pairs) = (self.s, x.len() / 2);
        let turn = |i: usize| {
            let (axis, j) = (2 * i / pairs, i % (pairs / 2));
            let frequency = f64::from(self.shape.rope_base).powf(-2.0 * j as f64 / pairs as f64);
            let (sin, cos) = (place[axis] as f64 * frequency).sin_cos();
            let (a, b) = (x[2 * i], x[2 * i + 1]);
            [
                s.add(s.affine(a, cos, 0.0), s.affine(b, -sin, 0.0)),
                s.add(s.affine(a, sin, 0.0), s.affine(b, cos, 0.0)),
            ]
        };
        (0..pairs).flat_map(turn).collect()
    }

    fn softmax(&self, x: &[S]) -> Vec<S> {
        let s = self.s;
        let e: Vec<S> = x.iter().map(|x| s.exp(*x)).collect();
        let scale = s.pow(s.sum(&e), -1.0);
        e.iter().map(|e| s.mul(*e, scale)).collect()
    }

    /// Rows whose cells lie in a grid of so many columns: row i sees the rows j of which `sees(i,
    /// j)`.
    fn attention(&self, name: &str, rows: &[Vec<S>], at: &Seen) -> Vec<Vec<S>> {
        let (s, d, heads) = (self.s, self.shape.dim, self.shape.heads);
        let width = d / heads;
        let qkv: Vec<Vec<S>> = rows
            .iter()
            .map(|x| self.linear(&format!("{name}.qkv.weight"), x))
            .collect();
        let part =
            |t: usize, which: usize, head: usize| &qkv[t][which * d + head * width..][..width];
        let attended = |t: usize| -> Vec<S> {
            let one = |head: usize| -> Vec<S> {
                let seen: Vec<usize> = (0..rows.len()).filter(|j| (at.sees)(t, *j)).collect();
                let q = self.turned(part(t, 0, head), (at.cell)(t), at.columns);
                let score = |j: &usize| {
                    let k = self.turned(part(*j, 1, head), (at.cell)(*j), at.columns);
                    s.affine(s.dot(&q, &k), 1.0 / (width as f64).sqrt(), 0.0)
                };
                let p = self.softmax(&seen.iter().map(score).collect::<Vec<S>>());
                let value = |c| {
                    s.dot(
                        &p,
                        &seen
                            .iter()
                            .map(|j| part(*j, 2, head)[c])
                            .collect::<Vec<S>>(),
                    )
                };
                (0..width).map(value).collect()
            };
            self.linear(
                &format!("{name}.proj.weight"),
                &(0..heads).flat_map(one).collect::<Vec<S>>(),
            )
        };
        (0..rows.len()).map(attended).collect()
    }

    fn mlp(&self, name: &str, x: &[S]) -> Vec<S> {
        let (s, up) = (self.s, self.linear(&format!("{name}.up.weight"), x));
        let inner: Vec<S> = match self.shape.mlp {
            MlpKind::SwiGlu => {
                let (a, b) = up.split_at(up.len() / 2);
                let silu = |x: f64| {
                    let sigmoid = 1.0 / (1.0 + (-x).exp());
                    (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
                };
                a.iter()
                    .zip(b)
                    .map(|(a, b)| s.mul(s.map(*a, silu), *b))
                    .collect()
            }
            MlpKind::Gelu => up.iter().map(|x| s.map(*x, gelu)).collect(),
        };
        self.linear(&format!("{name}.down.weight"), &inner)
    }

    /// Computes what rows add to themselves by attention to another sequence,
    /// [`Reference::memory`]'s.
    fn cross(&self, name: &str, rows: &[Vec<S>], memory: &[Vec<S>]) -> Vec<Vec<S>> {
        let (s, d, heads) = (self.s, self.shape.dim, self.shape.heads);
        let width = d / heads;
        let kv: Vec<Vec<S>> = memory
            .iter()
            .map(|x| self.linear(&format!("{name}.kv.weight"), x))
            .collect();
        let one = |x: &Vec<S>| {
            let q = self.linear(
                &format!("{name}.q.weight"),
                &self.norm(&format!("{name}.norm"), x),
            );
            let head = |h: usize| -> Vec<S> {
                if kv.is_empty() {
                    return s.constants(&vec![0.0; width]);
                }
                let at = h * width;
                let score = |k: &Vec<S>| {
                    s.affine(
                        s.dot(&q[at..at + width], &k[at..at + width]),
                        (width as f64).powf(-0.5),
                        0.0,
                    )
                };
                let p = self.softmax(&kv.iter().map(score).collect::<Vec<S>>());
                (0..width)
                    .map(|c| s.dot(&p, &kv.iter().map(|v| v[d + at + c]).collect::<Vec<S>>()))
                    .collect()
            };
            self.linear(
                &format!("{name}.proj.weight"),
                &(0..heads).flat_map(head).collect::<Vec<S>>(),
            )
        };
        rows.iter().map(one).collect()
    }

    fn block(
        &self,
        name: &str,
        rows: &[Vec<S>],
        at: &Seen,
        memory: Option<&[Vec<S>]>,
    ) -> Vec<Vec<S>> {
        let normed: Vec<Vec<S>> = rows
            .iter()
            .map(|x| self.norm(&format!("{name}.norm1"), x))
            .collect();
        let attended = self.attention(&format!("{name}.attn"), &normed, at);
        let mut rows: Vec<Vec<S>> = rows
            .iter()
            .zip(&attended)
            .map(|(x, y)| self.add(x, y))
            .collect();
        if let Some(memory) = memory {
            let read = self.cross(&format!("{name}.cross"), &rows, memory);
            rows = rows
                .iter()
                .zip(&read)
                .map(|(x, y)| self.add(x, y))
                .collect();
        }
        let inner = |x: &Vec<S>| {
            self.mlp(
                &format!("{name}.mlp"),
                &self.norm(&format!("{name}.norm2"), x),
            )
        };
        rows.iter().map(|x| self.add(x, &inner(x))).collect()
    }

    /// Computes the rows of a level above for each cell of the grid below it, row by row.
    fn conditions(&self, level: &Level, codes: &[u32]) -> Vec<Vec<S>> {
        let (name, [h, w], d) = (format!("above.{}", level.name), level.grid, self.shape.dim);
        let cell = |i: usize| {
            let token = |q: usize| {
                self.row(
                    &format!("{name}.tokens.{q}.weight"),
                    codes[i * level.codebooks + q] as usize,
                )
            };
            let mut x = token(0);
            for q in 1..level.codebooks {
                x = self.add(&x, &token(q));
            }
            match self.shape.positions {
                Positions::Learned => {
                    self.add(&x, &self.row(&format!("{name}.positions.weight"), i))
                }
                Positions::Rotary => x,
            }
        };
        let mut rows: Vec<Vec<S>> = (0..h * w).map(cell).collect();
        for i in 0..self.shape.condition_layers {
            let at = Seen {
                columns: w,
                cell: &|i| i,
                sees: &|_, _| true,
            };
            rows = self.block(&format!("{name}.blocks.{i}"), &rows, &at, None);
        }
        let spread: Vec<Vec<S>> = rows
            .iter()
            .map(|x| {
                self.linear(
                    &format!("{name}.spread.weight"),
                    &self.norm(&format!("{name}.norm"), x),
                )
            })
            .collect();
        let [rows, columns] = self.v.grid;
        let r = rows / h;
        let below = |i: usize| {
            let (y, x) = (i / columns, i % columns);
            spread[y / r * w + x / r][(y % r * r + x % r) * d..][..d].to_vec()
        };
        (0..rows * columns).map(below).collect()
    }

    /// The text's own tokens or rows as an encoder makes them.
    fn memory(&self, words: &[u32]) -> Vec<Vec<S>> {
        let text = self.v.text.unwrap();
        let rows: Vec<Vec<S>> = match text.form {
            TextFormat::Tokens(_) => {
                let row = |(i, w): (usize, &u32)| {
                    self.add(
                        &self.row("text.tokens.weight", *w as usize),
                        &self.row("text.positions.weight", i),
                    )
                };
                let mut rows: Vec<Vec<S>> = words.iter().enumerate().map(row).collect();
                for i in 0..self.shape.text_layers {
                    let at = Seen {
                        columns: 1,
                        cell: &|_| 0,
                        sees: &|_, _| true,
                    };
                    rows = self.block(&format!("text.blocks.{i}"), &rows, &at, None);
                }
                rows
            }
            TextFormat::Rows(channels) => {
                let row = |w: &[u32]| {
                    let x: Vec<f64> = w.iter().map(|w| f64::from(f32::from_bits(*w))).collect();
                    self.linear("text.rows.weight", &self.s.constants(&x))
                };
                words.chunks(channels).map(row).collect()
            }
        };
        rows.iter().map(|x| self.norm("text.norm", x)).collect()
    }

    /// Whether code i sees code j, by [`Pattern`]'s words.
    fn sees(&self, layer: usize, i: usize, j: usize) -> bool {
        let (columns, books, kernel) = (
            self.v.grid[1],
            self.v.codebooks,
            self.shape.attention_kernel,
        );
        let [(y, x), (above, left)] = [i, j].map(|i| (i / books / columns, i / books % columns));
        match self
            .shape
            .attention
            .get(layer % self.shape.attention.len().max(1))
            .unwrap_or(&Pattern::Full)
        {
            Pattern::Full => true,
            Pattern::Row => (y * columns + x) - (above * columns + left) <= columns,
            Pattern::Column => x == left,
            Pattern::Convolution => y - above <= kernel / 2 && x.abs_diff(left) <= kernel / 2,
        }
    }

    /// Logits of each token of an image, of its codes behind those of the levels above; and of each
    /// token but the first of a text in the same sequence. `words` are those of the text, `length`
    /// of them its own.
    fn logits(
        &self,
        class: u32,
        codes: &[u32],
        words: &[u32],
        length: usize,
    ) -> (Vec<Vec<S>>, Vec<Vec<S>>) {
        let stream = self.v.text.filter(|_| self.shape.text == TextKind::Stream);
        let each = self.v.text.map_or(0, |t| t.words() / t.length);
        let memory = self
            .v
            .text
            .filter(|_| stream.is_none())
            .map(|_| self.memory(&words[..length * each]));
        let books = self.v.codebooks;
        let mut above = Vec::new();
        let mut codes = codes;
        for level in &self.v.above {
            let (own, rest) = codes.split_at(level.codes());
            above.push(self.conditions(level, own));
            codes = rest;
        }
        let text_row = |i: usize| {
            let TextFormat::Tokens(size) = self.v.text.unwrap().form else {
                panic!()
            };
            let token = if i < length {
                words[i] as usize
            } else {
                size + i
            };
            self.add(
                &self.row("text.tokens.weight", token),
                &self.row("text.positions.weight", i),
            )
        };
        let before = stream.map_or(0, |t| t.length - 1);
        let input = |i: usize| {
            let mut x = match i {
                0 if stream.is_some() => text_row(self.v.text.unwrap().length - 1),
                0 => self.row("classes.weight", class as usize),
                _ => self.row(
                    &format!("tokens.{}.weight", (i - 1) % books),
                    codes[i - 1] as usize,
                ),
            };
            for rows in &above {
                x = self.add(&x, &rows[i / books]);
            }
            if books > 1 {
                x = self.add(&x, &self.row("codebook.weight", i % books));
            }
            if self.shape.positions == Positions::Learned {
                x = self.add(&x, &self.row("positions.weight", i / books));
            }
            x
        };
        let mut rows: Vec<Vec<S>> = (0..before)
            .map(text_row)
            .chain((0..codes.len()).map(input))
            .collect();
        for i in 0..self.shape.layers {
            let cell = |i: usize| i.saturating_sub(before) / books;
            let sees = |a: usize, b: usize| {
                b <= a && (b <= before || self.sees(i, a - before - 1, b - before - 1))
            };
            let at = Seen {
                columns: self.v.grid[1],
                cell: &cell,
                sees: &sees,
            };
            rows = self.block(&format!("blocks.{i}"), &rows, &at, memory.as_deref());
        }
        let head = |i: usize| match self.shape.tied {
            true => format!("tokens.{}.weight", i % books),
            false => format!("head.{}.weight", i % books),
        };
        let rows: Vec<Vec<S>> = rows.iter().map(|x| self.norm("norm", x)).collect();
        let text = rows[..before]
            .iter()
            .map(|x| self.linear("text.head.weight", x))
            .collect();
        (
            rows[before..]
                .iter()
                .enumerate()
                .map(|(i, x)| self.linear(&head(i), x))
                .collect(),
            text,
        )
    }

    /// Mean cross-entropy of images, and all logits [B, T, K].
    fn loss(&self, classes: &[u32], codes: &[u32], texts: Option<&Texts>) -> (S, Vec<Vec<S>>) {
        let (s, t) = (self.s, self.v.tokens());
        let mut all = Vec::new();
        let (mut losses, mut of_text) = (Vec::new(), Vec::new());
        let known = self.v.known();
        let loss = |logits: &[S], right: u32| {
            s.affine(s.ln(self.softmax(logits)[right as usize]), -1.0, 0.0)
        };
        for (n, (class, codes)) in classes.iter().zip(codes.chunks(known + t)).enumerate() {
            let each = self.v.text.map_or(0, |text| text.words());
            let (words, length, hidden) = match texts {
                Some(texts) => (
                    &texts.words[n * each..][..each],
                    texts.lengths[n] as usize,
                    texts.hidden[n],
                ),
                None => (&[][..], 0, true),
            };
            let (logits, text) = self.logits(*class, codes, words, length);
            for (logits, code) in logits.into_iter().zip(&codes[known..]) {
                losses.push(loss(&logits, *code));
                all.push(logits);
            }
            let learned = if hidden { 0 } else { length.saturating_sub(1) };
            for (logits, word) in text.iter().zip(words.iter().skip(1)).take(learned) {
                of_text.push(loss(logits, *word));
            }
        }
        let mean = |losses: &[S]| s.affine(s.sum(losses), 1.0 / losses.len() as f64, 0.0);
        let w = f64::from(self.shape.text_weight);
        if of_text.is_empty() {
            return (mean(&losses), all);
        }
        (
            s.add(
                s.affine(mean(&losses), 1.0 - w, 0.0),
                s.affine(mean(&of_text), w, 0.0),
            ),
            all,
        )
    }
}

/// GELU and its derivative, by the error function's series.
fn gelu(x: f64) -> (f64, f64) {
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum, mut n) = (z, z, 0.0);
    while term.abs() > 1e-18 * sum.abs().max(1e-300) && n < 400.0 {
        n += 1.0;
        term *= -z * z / n;
        sum += term / (2.0 * n + 1.0);
        if term == 0.0 {
            break;
        }
    }
    let erf = sum * 2.0 / std::f64::consts::PI.sqrt();
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (x / 2.0 * (1.0 + erf), 0.5 * (1.0 + erf) + x * density)
}

fn reference<'a>(
    s: &'a Scalars,
    shape: &Shape,
    v: &Vocabulary,
    host: &HostTensors,
) -> Reference<'a> {
    let params = host.iter().map(|(name, (shape, values))| {
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        (name.clone(), (shape.clone(), s.constants(&values)))
    });
    Reference {
        s,
        shape: shape.clone(),
        v: v.clone(),
        params: params.collect(),
    }
}

/// Every logit, the loss, and every element of every parameter's gradient, under an upstream
/// gradient other than 1: within 2e-5 + 2e-5 |expected|.
#[test]
fn logits_loss_and_gradients_equal_the_reference() {
    let gpu = gpu();
    let close = |name: &str, got: f32, want: f64| {
        let allowed = 2e-5 + 2e-5 * want.abs();
        let error = (f64::from(got) - want).abs();
        assert!(error <= allowed, "{name}: {got} for {want}");
        error / allowed
    };
    for (shape, v) in every() {
        let (prior, params) = build(&gpu, &shape, &v);
        let (classes, codes) = images(&v, 3, 4);
        let texts = texts(&v, 3);
        let (host, s) = (params.to_host().unwrap(), Scalars::default());
        let reference = reference(&s, &shape, &v, &host);
        let (loss, logits) = reference.loss(&classes, &codes, texts.as_ref());
        let upstream = 1.75;
        let gradient = s.backward(loss);

        let batch = prior
            .upload(&gpu, &classes, &codes, texts.as_ref())
            .unwrap();
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let got = prior.logits(&pass, &batch, Dropout::OFF).unwrap();
        let got: Vec<Vec<f32>> = got.iter().map(|l| l.tensor().read().unwrap()).collect();
        let (mut worst, mut compared) = (0.0f64, 0);
        for (i, want) in logits.iter().enumerate() {
            let (cell, book) = (i / v.codebooks, i % v.codebooks);
            for (c, want) in want.iter().enumerate() {
                let got = got[book][cell * v.codebook_size + c];
                worst = worst.max(close(&format!("logit {i} {c}"), got, s.get(*want)));
                compared += 1;
            }
        }
        assert_eq!(compared, classes.len() * v.tokens() * v.codebook_size);

        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let value = prior.loss(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        worst = worst.max(close(
            "loss",
            value.tensor().read::<f32>().unwrap()[0],
            s.get(loss),
        ));
        let scaled = tape.scale(&value, upstream as f32, 0.0).unwrap();
        let gradients = pass.gradients(tape.backward(&scaled).unwrap());
        let mut compared = 0;
        for (handle, got) in &gradients {
            let name = params.name(*handle);
            let want = &reference.params[name].1;
            let got: Vec<f32> = got.read().unwrap();
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                worst = worst.max(close(
                    &format!("gradient of {name}[{i}]"),
                    *got,
                    upstream * want.of(&gradient),
                ));
                compared += 1;
            }
        }
        assert_eq!(compared, params.count(), "every parameter has a gradient");
        println!("{:?}: worst {worst:.3} of what is allowed", shape.mlp);
    }
}

/// The reference's own gradients, against central differences.
#[test]
fn the_reference_differentiates() {
    let gpu = gpu();
    for (shape, v) in every() {
        let (_, params) = build(&gpu, &shape, &v);
        let (classes, codes) = images(&v, 2, 9);
        let texts = texts(&v, 2);
        let host = params.to_host().unwrap();
        let s = Scalars::default();
        let r = reference(&s, &shape, &v, &host);
        let gradient = s.backward(r.loss(&classes, &codes, texts.as_ref()).0);
        for (n, (name, (_, values))) in host.iter().enumerate() {
            let i = (7 * n + 3) % values.len();
            let at = |delta: f64| {
                let s = Scalars::default();
                let mut r = reference(&s, &shape, &v, &host);
                let changed = s.constant(f64::from(values[i]) + delta);
                r.params.get_mut(name).unwrap().1[i] = changed;
                s.get(r.loss(&classes, &codes, texts.as_ref()).0)
            };
            let (difference, found) = (
                (at(1e-5) - at(-1e-5)) / 2e-5,
                r.params[name].1[i].of(&gradient),
            );
            assert!(
                (difference - found).abs() <= 1e-7 + 1e-5 * found.abs(),
                "{name}[{i}]: {found}, {difference}"
            );
        }
    }
}

/// PyTorch in f64 on the same weights, codes and classes, which `scripts/fixtures/prior.py` wrote:
/// logits, loss and all gradients, within 3e-5 of each tensor's largest element.
#[test]
fn pytorch_agrees() {
    let gpu = gpu();
    for name in ["rotary", "learned"] {
        let fixture = Fixture::load(&format!("prior/{name}"));
        let c = &fixture.metadata["config"];
        let size = |key: &str| c[key].as_u64().unwrap() as usize;
        let shape = serde_json::json!({
            "layers": c["layers"], "dim": c["dim"], "heads": c["heads"], "hidden": c["hidden"],
            "norm": c["norm"], "mlp": c["mlp"],
            "positions": c["positions"], "rope_base": c["rope_base"], "tied": c["tied"],
            "dropout": 0.0,
        });
        let shape: Shape = serde_json::from_value(shape).unwrap();
        let v = Vocabulary {
            codebook_size: size("codebook_size"),
            codebooks: size("codebooks"),
            grid: serde_json::from_value(c["grid"].clone()).unwrap(),
            classes: size("classes"),
            above: Vec::new(),
            text: None,
        };
        let (prior, params) = build(&gpu, &shape, &v);
        let weights = fixture.under("model.");
        params.load_host(&weights).unwrap();

        let close = |what: &str, got: &[f32], want: &[f32]| {
            close(&format!("{name}: {what}"), got, want, 3e-5);
        };
        let floats = |name: &str| fixture.floats(name);
        let numbers = |name: &str| &fixture.words[name];
        let batch = prior
            .upload(&gpu, numbers("classes"), numbers("codes"), None)
            .unwrap();
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let (k, books) = (v.codebook_size, v.codebooks);
        let want = floats("logits");
        for (q, logits) in prior
            .logits(&pass, &batch, Dropout::OFF)
            .unwrap()
            .iter()
            .enumerate()
        {
            let want: Vec<f32> = want
                .chunks(k)
                .skip(q)
                .step_by(books)
                .flatten()
                .copied()
                .collect();
            close(
                &format!("logits of codebook {q}"),
                &logits.tensor().read::<f32>().unwrap(),
                &want,
            );
        }
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let loss = prior.loss(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        close(
            "loss",
            &loss.tensor().read::<f32>().unwrap(),
            floats("loss"),
        );
        let gradients = pass.gradients(tape.backward(&loss).unwrap());
        assert_eq!(gradients.len(), weights.len());
        for (handle, gradient) in gradients {
            let name = params.name(handle);
            close(
                &format!("gradient of {name}"),
                &gradient.read::<f32>().unwrap(),
                floats(&format!("grad.{name}")),
            );
        }
    }
}

/// Attention makes no matrix of scores: what a pass forward and back takes grows as the sequence
/// does.
#[test]
fn attention_takes_memory_in_proportion_to_the_sequence() {
    use wgvq::gpu::{DType, Tensor};
    use wgvq::ops::attention::attention::Attention;
    let gpu = Gpu::new(Options::default()).unwrap();
    let taken = |t: usize| {
        let qkv = Tensor::zeros(&gpu, &[1, t, 3, 2, 32], DType::F32).unwrap();
        let dy = Tensor::zeros(&gpu, &[1, t, 2, 32], DType::F32).unwrap();
        gpu.finish().unwrap();
        gpu.reset_peak();
        let before = gpu.memory().in_use;
        let tape = Tape::new(&gpu);
        let leaf = tape.leaf(&qkv);
        let y = tape.attention_packed(&leaf, Attention::CAUSAL).unwrap();
        tape.backward_with(&y, dy).unwrap();
        gpu.finish().unwrap();
        gpu.memory().peak - before
    };
    // Output, gradient and two numbers a row and head: 256 channels and a few.
    for t in [512, 1024, 2048] {
        let bytes = taken(t);
        println!("{t} tokens: {bytes} bytes");
        assert!(bytes <= 4 * 320 * t as u64, "{t} tokens took {bytes} bytes");
    }
}
