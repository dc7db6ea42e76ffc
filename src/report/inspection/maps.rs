//! Maps of codes over images, and how far codes survive changes of them.

use super::{Inspection, OVERLAID, name};
use crate::Result;
use crate::analysis::robustness::{Attack, Robustness};
use crate::report::axes::measured;
use crate::report::canvas::Colour;
use crate::report::map::{colours, map};
use crate::report::overlay::{Overlay, overlay};
use crate::report::page::{Figure, Section, Table};
use crate::report::pca::plane;
use crate::report::robustness;
use std::collections::BTreeMap;

impl Inspection {
    /// Returns the maps, and the colour of each code by codebook.
    pub(super) fn maps(
        &self,
        files: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<(Section, Vec<BTreeMap<u32, Colour>>)> {
        let mut colours_of = Vec::new();
        let mut section = Section {
            id: "map".into(),
            title: "A map of the codebook".into(),
            text: vec![
                "Each code is a list of numbers, that is, a point in a space of many dimensions. \
                 The map lays the points on the plane in which they differ most (principal \
                 component analysis), so that codes near each other on the map are mostly alike. \
                 How much of the difference the plane holds is said at its axes; what it does not \
                 hold is not seen. On the left a code is the darker the more often it is taken; \
                 on the right each has the colour that it has in the index maps below."
                    .into(),
            ],
            ..Default::default()
        };
        for (i, book) in self.books.iter().enumerate() {
            let plane = plane(&book.vectors, self.dim)?;
            let counts: Vec<u64> = book
                .order
                .iter()
                .take(plane.places.len())
                .map(|c| book.counts[*c as usize])
                .collect();
            let canvas = map(
                &format!("the codebook as a map{}", self.of(i).replace(" of", ":")),
                &plane,
                &counts,
            )?;
            colours_of.push(book.order.iter().copied().zip(colours(&plane)).collect());
            let (n, k) = (plane.places.len(), book.counts.len());
            let most = if n < k {
                format!(" The {n} most used of {k} codes.")
            } else {
                String::new()
            };
            section.figures.push(Figure {
                png: canvas.png()?,
                alt: format!("Two scatter plots of the {n} codes{}", self.of(i)),
                caption: format!(
                    "The codes{} on the plane in which they differ most, which holds {}% of the \
                     difference.{most}",
                    self.of(i),
                    measured((plane.shares[0] + plane.shares[1]) * 100.0)
                ),
            });
            files.push((name("map", self.books.len(), i), canvas.png()?));
        }
        Ok((section, colours_of))
    }

    pub(super) fn index_maps(
        &self,
        files: &mut Vec<(String, Vec<u8>)>,
        colours: &[BTreeMap<u32, Colour>],
    ) -> Result<Section> {
        let (originals, reconstructions, codes) = &self.shown;
        let colours = &colours[..colours.len().min(OVERLAID)];
        let canvas = overlay(&Overlay {
            originals,
            reconstructions,
            shape: self.shape,
            grid: self.grid,
            codes,
            colours,
            books: self.codebooks,
        })?;
        files.push(("overlay.png".into(), canvas.png()?));
        let first = match colours.len() {
            n if n < self.codebooks => format!(
                " Of the {} codebooks, the first {n} are shown.",
                self.codebooks
            ),
            _ => String::new(),
        };
        let text = format!(
            "What the model keeps of a picture is the middle: a code at each place, here as a \
             colour over the original. Codes of like colours lie near each other on the map \
             above; lines run where neighbouring places have different codes, and where there is \
             room the code's number is written. The reconstruction is drawn from these codes and \
             nothing else.{first}"
        );
        let figure = Figure {
            png: canvas.png()?,
            alt: "Pictures, each followed by its codes as a coloured grid and by its \
                  reconstruction"
                .into(),
            caption: "Original, its codes, and what the decoder makes of them.".into(),
        };
        let title = "Codes laid over pictures".into();
        Ok(Section {
            id: "overlay".into(),
            title,
            text: vec![text],
            figures: vec![figure],
            table: None,
            ..Default::default()
        })
    }

    pub(super) fn survival(&self, files: &mut Vec<(String, Vec<u8>)>) -> Result<Section> {
        let Robustness {
            outcomes,
            images,
            attack,
        } = &self.robustness;
        let against = match attack {
            Attack::Commitment => {
                "drives latents away from their codes the fastest (the sign of the commitment \
                 loss's gradient"
            }
            Attack::Reconstruction => {
                "harms the reconstruction the fastest (the sign of its squared error's gradient"
            }
        };
        let canvas = robustness::chart(outcomes)?;
        files.push(("robustness.png".into(), canvas.png()?));
        files.push((
            "robustness.csv".into(),
            robustness::csv(outcomes).into_bytes(),
        ));
        let (head, rows) = robustness::table(outcomes);
        let text = vec![
            format!(
                "{images} of the pictures are changed a little, and the model reads them again. \
                 How many places keep their code? On the left every pixel gets random noise. On \
                 the right every pixel moves by the same small amount, up or down as {against}; \
                 FGSM, Goodfellow et al. 2014): a change that one hardly sees, but aimed."
            ),
            "Beside it stands how far the model's continuous latents drift, before they become \
             codes. While a code survives, a drift of the latent beneath it is undone: that is \
             what being discrete buys. Once it changes, it jumps: so the quantized latents, which \
             the decoder is given, can drift further than the continuous ones did."
                .into(),
        ];
        let figure = Figure {
            png: canvas.png()?,
            alt: "Two charts: the share of codes that stay the same, and the drift of latents, \
                  over the strength of the change"
                .into(),
            caption: "A strength of 1 is one grey level of the 255 between black and white. At \
                      strength 0 nothing changes."
                .into(),
        };
        let title = "Do codes survive changed pixels?".into();
        Ok(Section {
            id: "robustness".into(),
            title,
            text,
            figures: vec![figure],
            table: Some(Table { head, rows }),
            ..Default::default()
        })
    }
}
