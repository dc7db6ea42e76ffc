//! A look inside a trained codebook: the pictures, each a file, and the page that holds them all
//! and says what is seen.

mod maps;

use super::atlas::{Code, atlas};
use super::axes::measured;
use super::grid::Shape;
use super::metrics::{CodeUsage, code_usage};
use super::page::{Figure, Page, Section, Table};
use super::patches::{Row, patches};
use super::usage::usage;
use crate::Result;
use crate::analysis::robustness::Robustness;

/// Codebooks whose codes are laid over pictures.
const OVERLAID: usize = 3;

/// The inspection of one codebook. The first codes of `order` are those that its pictures show.
#[derive(Clone, Debug)]
pub struct CodebookInspection {
    /// Number of uses of each code.
    pub counts: Vec<u64>,
    /// Codes, the most used first.
    pub order: Vec<u32>,
    /// Decoded images of the first codes: tiles, u8 NHWC.
    pub tiles: Vec<u8>,
    /// The vectors of `order`, of [`Inspection::dim`] channels.
    pub vectors: Vec<f32>,
    /// The patches nearest to each of the first codes that were used: tiles, u8 NHWC.
    pub patches: Vec<Vec<u8>>,
}

/// The inspection of a model.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The run.
    pub run: String,
    /// The quantizer.
    pub quantizer: String,
    /// The pictures looked at: the data set's name, and how many.
    pub data: (String, usize),
    /// Size of the pictures.
    pub shape: Shape,
    /// The level whose codes are shown; empty where there is one.
    pub level: String,
    /// Rows and columns of a picture's codes.
    pub grid: [usize; 2],
    /// Channels of a latent.
    pub dim: usize,
    /// Codebooks that the model has; the first ones are shown.
    pub codebooks: usize,
    /// The codebooks that are shown.
    pub books: Vec<CodebookInspection>,
    /// Cells that a tile is wide.
    pub cells: usize,
    /// Patches to a code.
    pub nearest: usize,
    /// Originals, their reconstructions and codes [N, rows, columns, Q], of some of the pictures.
    pub shown: (Vec<u8>, Vec<u8>, Vec<u32>),
    /// Robustness of the codes to changes of the pixels.
    pub robustness: Robustness,
}

/// Entropy of the codes' use, in bits.
pub fn entropy_bits(usage: &CodeUsage) -> f64 {
    usage.perplexity.max(1.0).log2()
}

/// The files' names by codebook: `codes.png`, or `codes-1.png` where there are several.
fn name(stem: &str, books: usize, book: usize) -> String {
    if books == 1 {
        format!("{stem}.png")
    } else {
        format!("{stem}-{}.png", book + 1)
    }
}

/// Returns the names of all files that an inspection with so many codebooks makes.
pub fn names(books: usize) -> Vec<String> {
    let each = ["codes", "patches", "usage", "map"];
    let pictures = each
        .iter()
        .flat_map(|stem| (0..books).map(move |book| name(stem, books, book)));
    let others = [
        "overlay.png",
        "robustness.png",
        "robustness.csv",
        "index.html",
    ];
    pictures.chain(others.map(String::from)).collect()
}

impl Inspection {
    fn tile(&self) -> Shape {
        let side = self.cells * (self.shape.width / self.grid[1].max(1));
        Shape {
            width: side,
            height: side,
            channels: self.shape.channels,
        }
    }

    /// ` of codebook 2`, where there are several.
    fn of(&self, book: usize) -> String {
        if self.codebooks == 1 {
            String::new()
        } else {
            format!(" of codebook {}", book + 1)
        }
    }

    fn codes(&self, book: &CodebookInspection) -> Vec<Code> {
        let total = book.counts.iter().sum::<u64>().max(1) as f64;
        let code = |n: &u32| Code {
            number: *n,
            share: book.counts[*n as usize] as f64 / total,
        };
        book.order.iter().map(code).collect()
    }

    /// Describes what the other codebooks hold while one is looked at, where there are several.
    fn others(&self) -> String {
        match self.codebooks {
            1 => String::new(),
            _ => " A place takes a code of each codebook. While the codes of one are shown, the \
                  other codebooks give the average of what they give over the pictures: no real \
                  code, but the tiles then differ in the shown code alone, and not in the shade \
                  of another."
                .into(),
        }
    }

    /// Every file by its name: pictures, the table of survivals, and the page.
    ///
    /// # Errors
    /// If parts do not fit one another, or a picture would be too large.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut sections = vec![
            self.decoded(&mut files)?,
            self.real(&mut files)?,
            self.use_of_codes(&mut files)?,
        ];
        let (plan, colours) = self.maps(&mut files)?;
        sections.extend([
            plan,
            self.index_maps(&mut files, &colours)?,
            self.survival(&mut files)?,
        ]);
        let page = Page {
            title: format!("Inside the {}codebook of {}", self.which(), self.run),
            intro: self.intro(),
            sections,
        };
        files.push(("index.html".into(), page.html().into_bytes()));
        Ok(files)
    }

    /// `top `, where there are several levels.
    fn which(&self) -> String {
        if self.level.is_empty() {
            String::new()
        } else {
            format!("{} ", self.level)
        }
    }

    fn intro(&self) -> Vec<String> {
        let ([rows, columns], (data, images), s) = (self.grid, &self.data, self.shape);
        let k = self.books.first().map_or(0, |b| b.counts.len());
        let each = match self.codebooks {
            1 => format!("one of {k} codes"),
            n => format!("{n} codes, one from each of {n} codebooks of {k}"),
        };
        let mut intro = vec![
            format!(
                "This model writes a picture of {} x {} pixels as {rows} x {columns} places with \
                 {each} at each. From these numbers alone it draws the picture again. The pages \
                 below show what the codes stand for. The quantizer, which chooses the codes, is \
                 \u{201c}{}\u{201d}.",
                s.width, s.height, self.quantizer
            ),
            format!(
                "Seen through {images} pictures of {data} that the model did not train on (the \
                 data set's test split)."
            ),
        ];
        if !self.level.is_empty() {
            intro.push(format!(
                "The model has several grids of codes, from coarse to fine; this page shows the \
                 {} one. Where its codes are shown decoded, the other grids hold their average: \
                 no real code, but the tiles then differ in the shown code alone.",
                self.level
            ));
        }
        if self.books.len() < self.codebooks {
            intro.push(format!(
                "The first {} of the {} codebooks are shown.",
                self.books.len(),
                self.codebooks
            ));
        }
        intro
    }

    fn decoded(&self, files: &mut Vec<(String, Vec<u8>)>) -> Result<Section> {
        let mut section = Section {
            id: "codes".into(),
            title: "Every code on its own".into(),
            text: vec![format!(
                "One tile to a code: a field of nothing but that code is decoded, and the tile is \
                 the middle of it, {0} x {0} places wide. So a tile is the colour and texture \
                 that the code asks for when nothing beside it disagrees. The most used codes \
                 come first; under each tile is the code's number.{1}",
                self.cells,
                self.others()
            )],
            ..Default::default()
        };
        for (i, book) in self.books.iter().enumerate() {
            let size = self.tile().width * self.tile().height * self.tile().channels;
            let shown = book.tiles.len() / size.max(1);
            let codes: Vec<Code> = self.codes(book).into_iter().take(shown).collect();
            let k = book.counts.len();
            let what = if shown < k {
                format!("the {shown} most used of {k} codes")
            } else {
                format!("all {k} codes")
            };
            let unused = codes.iter().filter(|c| c.share == 0.0).count();
            let red = match unused {
                0 => String::new(),
                n => format!("; {n} that no picture took have a red frame"),
            };
            let title = format!("codes{}, each decoded on its own", self.of(i));
            let canvas = atlas(
                &title,
                &format!("{what}, most used first{red}"),
                &codes,
                &book.tiles,
                self.tile(),
            )?;
            section.figures.push(Figure {
                png: canvas.png()?,
                alt: format!(
                    "A grid of {shown} small tiles, one for each code{}",
                    self.of(i)
                ),
                caption: format!("Decoded codes{}: {what}{red}.", self.of(i)),
            });
            files.push((name("codes", self.books.len(), i), canvas.png()?));
        }
        Ok(section)
    }

    fn real(&self, files: &mut Vec<(String, Vec<u8>)>) -> Result<Section> {
        let cell = self.shape.width / self.grid[1].max(1);
        let mut section = Section {
            id: "patches".into(),
            title: "The real patches that chose a code".into(),
            text: vec![format!(
                "Each row is one of the most used codes: its number and share, the tile that it \
                 decodes to, and the {} places in real pictures whose latents lie nearest to it, \
                 nearest first, at most one from each picture and its variants. The framed square \
                 in the middle is the place itself, {cell} x {cell} pixels; around it is what the \
                 encoder sees too. Nearest is meant as the quantizer itself measures it. A good \
                 code gathers patches that look alike.",
                self.nearest
            )],
            ..Default::default()
        };
        for (i, book) in self.books.iter().enumerate() {
            let shape = self.tile();
            let size = shape.width * shape.height * shape.channels;
            let codes = self.codes(book);
            let rows: Vec<Row<'_>> = codes
                .iter()
                .zip(&book.patches)
                .zip(book.tiles.chunks(size))
                .map(|((code, patches), decoded)| Row {
                    code: *code,
                    decoded,
                    patches: patches.clone(),
                })
                .collect();
            let title = format!("real patches of the codes{}", self.of(i));
            let caption = format!(
                "the {} most used codes; the framed middle is the code's own place",
                rows.len()
            );
            let canvas = patches(&title, &caption, &rows, shape, self.cells, self.nearest)?;
            section.figures.push(Figure {
                png: canvas.png()?,
                alt: format!(
                    "Rows of picture patches, one row for each of {} codes{}",
                    rows.len(),
                    self.of(i)
                ),
                caption: format!(
                    "The patches nearest to the {} most used codes{}. Grey squares: fewer \
                     pictures hold that code; pale grey within a patch: past the edge of its \
                     picture.",
                    rows.len(),
                    self.of(i)
                ),
            });
            files.push((name("patches", self.books.len(), i), canvas.png()?));
        }
        Ok(section)
    }

    fn use_of_codes(&self, files: &mut Vec<(String, Vec<u8>)>) -> Result<Section> {
        let mut table = Table {
            head: [
                "codebook",
                "codes",
                "used",
                "perplexity",
                "entropy",
                "most used takes",
            ]
            .map(String::from)
            .to_vec(),
            rows: Vec::new(),
        };
        let mut figures = Vec::new();
        for (i, book) in self.books.iter().enumerate() {
            let u = code_usage(&book.counts);
            let most =
                book.counts.iter().max().copied().unwrap_or(0) as f64 / u.total.max(1) as f64;
            let bits = format!(
                "{:.2} of {:.2} bits",
                entropy_bits(&u),
                (u.codes.max(1) as f64).log2()
            );
            table.rows.push(vec![
                (i + 1).to_string(),
                u.codes.to_string(),
                u.used.to_string(),
                measured(u.perplexity),
                bits,
                format!("{}%", measured(most * 100.0)),
            ]);
            let canvas = usage(&book.counts, 1120, 380)?.with_margin(24)?;
            figures.push(Figure {
                png: canvas.png()?,
                alt: format!(
                    "A chart of each code's share{}, falling from left to right",
                    self.of(i)
                ),
                caption: format!(
                    "Each code's share of all places{}, sorted. Dashed: if all were used alike.",
                    self.of(i)
                ),
            });
            files.push((name("usage", self.books.len(), i), canvas.png()?));
        }
        let text = "How often each code is taken. If a few codes take everything, the rest of the \
                    codebook is wasted. Perplexity says it in one number: with a perplexity of \
                    100, the codes carry as much as 100 codes used alike would. Entropy is the \
                    same in bits: what one place's code tells on average.";
        let title = "How often codes are used".into();
        Ok(Section {
            id: "usage".into(),
            title,
            text: vec![text.into()],
            figures,
            table: Some(table),
            ..Default::default()
        })
    }
}

/// Renamed to [`CodebookInspection`].
#[deprecated(since = "0.2.0", note = "renamed to `CodebookInspection`")]
pub type Book = CodebookInspection;
