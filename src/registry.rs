//! The one list of operations, above the operations that it names.
//!
//! The tests, `wgvq selftest`, `wgvq bench` and the documents walk it, so an operation without a
//! reference or shapes to test cannot exist. `docs/add-an-op.md` shows how to add one.

use crate::ops::{
    attention, conv, elementwise, image, linalg, loss, norm, optim, quantize, sampling,
};
use crate::spec::Operation;
use crate::{Error, Result};

/// Every operation there is.
#[rustfmt::skip] // one a line, so that two additions do not meet in one
pub fn operations() -> &'static [&'static dyn Operation] {
    &[
        &elementwise::activation::Activation,
        &optim::adam::Adam,
        &optim::adam_bf16::AdamBf16,
        &loss::adaptive_weight::AdaptiveWeight,
        &elementwise::add::Add,
        &quantize::assignment::AssignmentSpec,
        &attention::attention::AttentionSpec,
        &attention::attention_decode::AttentionDecodeSpec,
        &norm::batch_norm::BatchNorm,
        &linalg::bias::Bias,
        &quantize::beam_select::BeamSelect,
        &quantize::bits::BitEntropy,
        &quantize::bits::BitTable,
        &quantize::bits::Bits,
        &elementwise::cast::Cast,
        &optim::clip::Clip,
        &quantize::code_softmax::CodeAverage,
        &quantize::code_softmax::CodeSample,
        &quantize::codebook_use::CodebookUse,
        &linalg::column_sum::ColumnSum,
        &conv::conv2d::Conv2dSpec,
        &conv::conv_transpose2d::ConvTranspose2dSpec,
        &elementwise::copy::Copy,
        &attention::cross_decode::CrossDecodeSpec,
        &loss::cross_entropy::CrossEntropySpec,
        &quantize::diveq::Diveq,
        &image::downsample::Downsample,
        &sampling::dropout::Dropout,
        &quantize::ema_update::EmaUpdate,
        &quantize::entropy::Entropy,
        &elementwise::fill::Fill,
        &elementwise::fma_chain::FmaChain,
        &conv::fold::Fold,
        &quantize::fsq::FsqSpec,
        &quantize::gather::Gather,
        &norm::group_norm::GroupNorm,
        &norm::group_norm_activation::GroupNormActivation,
        &quantize::gumbel::GumbelSpec,
        &image::image::Image,
        &image::image_gradient::ImageGradient,
        &sampling::join_codes::JoinCodes,
        &quantize::kmeans::Kmeans,
        &norm::l2_norm::L2Norm,
        &norm::layer_norm::LayerNorm,
        &elementwise::lerp::Lerp,
        &loss::loss::LossSpec,
        &loss::lpips_distance::LpipsDistance,
        &linalg::matmul::Matmul,
        &conv::max_pool::MaxPool,
        &elementwise::multiply::Multiply,
        &attention::positions::Positions,
        &sampling::random::Random,
        &linalg::reduce::Reduce,
        &sampling::repetition_penalty::RepetitionPenalty,
        &image::resample::Resample,
        &quantize::restart_dead_codes::RestartDeadCodes,
        &norm::rms_norm::RmsNorm,
        &attention::rotary::RotarySpec,
        &quantize::rotation::Rotation,
        &sampling::sample::SampleSpec,
        &elementwise::scale::Scale,
        &linalg::scale_by::ScaleBy,
        &elementwise::slice_columns::SliceColumns,
        &attention::softmax::SoftmaxSpec,
        &linalg::split_sum::SplitSum,
        &image::ssim::Ssim,
        &elementwise::swiglu::Swiglu,
        &conv::unfold::Unfold,
        &image::upsample::Upsample,
        &quantize::vq_search::VqSearch,
    ]
}

/// The operation of that name.
///
/// # Errors
/// If there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static dyn Operation> {
    operations()
        .iter()
        .copied()
        .find(|op| op.name() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = operations().iter().map(|op| op.name()).collect();
            Error::data(format!(
                "no operation is called `{name}`; there are {}",
                names.join(", ")
            ))
        })
}
