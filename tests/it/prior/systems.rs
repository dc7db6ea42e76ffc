//! Priors of each kind: shapes, vocabularies and texts.

use wgvq::models::Level;
use wgvq::models::prior::{Pattern, Positions, Shape, TextKind, Vocabulary};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::nn::{MlpKind, NormKind};
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
            scales: None,
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
            scales: None,
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
            scales: None,
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
            scales: None,
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
            scales: None,
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
            scales: None,
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
pub(super) fn texts(v: &Vocabulary, n: usize) -> Option<Texts> {
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

pub(super) fn every() -> [(Shape, Vocabulary); 8] {
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
