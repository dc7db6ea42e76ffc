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
        &loss::adaptive_weight::AdaptiveWeight,
        &elementwise::add::Add,
        &quantize::assignment::AssignmentRow,
        &attention::attention::AttentionRow,
        &attention::attention_decode::AttentionDecodeRow,
        &attention::cross_decode::CrossDecodeRow,
        &linalg::bias::Bias,
        &quantize::bits::BitEntropy,
        &quantize::bits::BitTable,
        &quantize::bits::Bits,
        &elementwise::cast::Cast,
        &optim::clip::Clip,
        &quantize::code_softmax::CodeAverage,
        &quantize::code_softmax::CodeSample,
        &quantize::codebook_use::CodebookUse,
        &linalg::column_sum::ColumnSum,
        &elementwise::columns::Columns,
        &conv::conv2d::Conv2dRow,
        &conv::conv_transpose2d::ConvTranspose2dRow,
        &elementwise::copy::Copy,
        &loss::cross_entropy::CrossEntropyRow,
        &image::differences::Differences,
        &image::downsample::Downsample,
        &sampling::dropout::Dropout,
        &quantize::ema_update::EmaUpdate,
        &quantize::entropy::Entropy,
        &loss::feature_distance::FeatureDistance,
        &elementwise::fill::Fill,
        &elementwise::fma_chain::FmaChain,
        &conv::fold::Fold,
        &quantize::fsq::FsqRow,
        &quantize::gather::Gather,
        &norm::group_norm::GroupNorm,
        &norm::batch_norm::BatchNorm,
        &quantize::gumbel::GumbelRow,
        &image::image::Image,
        &quantize::kmeans::Kmeans,
        &norm::l2_norm::L2Norm,
        &norm::layer_norm::LayerNorm,
        &elementwise::lerp::Lerp,
        &loss::loss::LossRow,
        &linalg::matmul::Matmul,
        &conv::max_pool::MaxPool,
        &attention::positions::Positions,
        &sampling::random::Random,
        &linalg::reduce::Reduce,
        &sampling::repetition::Repetition,
        &quantize::revive::Revive,
        &norm::rms_norm::RmsNorm,
        &quantize::rotation::Rotation,
        &attention::rotary::RotaryRow,
        &sampling::sample::SampleRow,
        &elementwise::scale::Scale,
        &linalg::scale_by::ScaleBy,
        &attention::softmax::SoftmaxRow,
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
