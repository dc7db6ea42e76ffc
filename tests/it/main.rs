//! The command line and its files, end to end: one binary, a module to each subject.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/host.rs"]
mod host;
#[path = "../common/scalar.rs"]
mod scalar;

use common::skip;

mod add_an_op;
mod archive;
mod bench;
mod cli;
mod compat;
mod configurations;
mod coopmat;
mod damaged;
mod data_script;
mod deprecated;
mod distances;
mod doctor;
mod embed;
mod embed_train;
mod endurance;
mod exporting;
mod gan;
mod golden;
mod help;
mod hierarchy;
mod import;
mod input;
mod inspect;
mod kernel_budgets;
mod keys;
mod large_images;
mod layering;
mod learning;
mod lines;
mod low_precision;
mod lpips;
mod misuse;
mod mixed;
mod models;
mod packing;
mod page;
mod passes;
mod photographs;
mod prior;
mod prior_cli;
mod quantizers;
mod ranks;
mod reach;
mod readme;
mod recompute;
mod recovery;
mod reliability;
mod replacing;
mod report;
mod resume;
mod resuming;
mod robust;
mod run_files;
mod sampling;
mod scripts;
mod search;
mod second_stage;
mod seeing;
mod shaders;
mod system;
mod text2image;
mod tiles;
mod torture;
mod vit;
mod vq_pytorch;
mod vqgan;
mod wrong_kernels;
