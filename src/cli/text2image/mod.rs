//! `wgvq text2image`: images from texts, in the ways of DALL-E and Parti.

mod evaluate;
mod sample;
mod train;

use super::{CommandStatus, Global};
use clap::{Args, Subcommand};
use wgvq::Result;

#[derive(Args)]
pub struct Text2Image {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Train on captioned images: a first stage, a prior that reads texts, and a contrastive model
    /// that judges
    Train(train::Train),
    /// Draw images of texts
    Sample(sample::Sample),
    /// Measure whether images drawn of captions held out are of what was asked for
    Evaluate(evaluate::Evaluate),
}

impl Text2Image {
    /// Whether several processes may do it together.
    pub fn trains(&self) -> bool {
        matches!(self.action, Action::Train(_))
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        match &self.action {
            Action::Train(c) => c.run(global),
            Action::Sample(c) => c.run(global),
            Action::Evaluate(c) => c.run(global),
        }
    }
}
