//! Text to image: a prior over a first stage's codes that reads captions, and a contrastive model
//! that judges what it draws. Which stages there are, what they read, and how they go on.

mod captions;
mod request;
mod stages;

pub use captions::{Material, captioned, read_rows, tokens};
pub use request::{GivenOptions, TrainRequest, other_options};
pub use stages::{begin_prior, check_places, check_stages, ended, judge_of, prior_of, same_images};

use crate::config::prior::PriorConfig;
use crate::models::prior::{Pattern, Positions, Shape, TextKind};
use crate::{Error, Result};

/// The prior's size where none is asked for.
pub const SIZE: &str = "small";
/// Tokens learned of the captions where no number is asked for, at most.
pub const VOCABULARY: usize = 1024;
/// Steps of the contrastive model where none are asked for.
pub const JUDGE_STEPS: u64 = 1500;

/// The system by which texts become images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum System {
    /// Text and codes in one sequence, over a Gumbel-softmax codebook (Ramesh et al. 2021).
    Dalle,
    /// An encoder that the decoder attends to, over a cosine codebook (Yu et al. 2022).
    #[default]
    Parti,
}

impl System {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            System::Dalle => "dalle",
            System::Parti => "parti",
        }
    }

    /// Returns the system of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<System> {
        let all = [System::Dalle, System::Parti];
        let names = all.map(System::name);
        all.into_iter().find(|s| s.name() == name).ok_or_else(|| {
            let what = format!("there is no `{name}`; there are {}", names.join(" and "));
            Error::config("--system", what)
        })
    }

    /// Returns the quantizer of its first stage.
    pub fn quantizer(self) -> &'static str {
        match self {
            System::Dalle => "gumbel",
            System::Parti => "cosine",
        }
    }

    /// Returns the configuration of its prior, of a size by name.
    ///
    /// # Errors
    /// If there is no such size.
    pub fn prior(self, size: &str) -> Result<PriorConfig> {
        let mut config = PriorConfig {
            prior: Shape::of_size(size)?,
            ..Default::default()
        };
        if self == System::Dalle {
            config.prior.text = TextKind::Stream;
            config.prior.positions = Positions::Learned;
            // Full attention in every fourth layer: the small model's last looks at everything.
            config.prior.attention =
                vec![Pattern::Row, Pattern::Column, Pattern::Row, Pattern::Full];
        }
        Ok(config)
    }
}
