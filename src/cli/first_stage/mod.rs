//! Commands of the first stage: training, codes and images, and what shows how good they are.

pub mod bulk;
pub mod codes;
pub mod codes_form;
pub mod compare;
pub mod decoded;
pub mod export;
pub mod import;
pub mod inspect;
pub mod latents;
pub mod model_card;
pub mod pack;
pub mod page;
pub mod plan;
pub mod reconstruct;
pub mod report;
pub mod report_page;
pub mod statistics;
pub mod train;
pub mod vectors;
