//! Files whose tensors have shapes that no model has.

use crate::common::published;
use wgvq::inference::import::{Names, read, read_codebook};

/// Shapes that would make more than a file holds, or that no number of a computer is large enough
/// for, are refused by name.
#[test]
fn crafted_shapes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crafted.safetensors");
    let ones = |name: &str, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        (
            name.to_owned(),
            shape.to_vec(),
            1f32.to_le_bytes().repeat(count),
        )
    };
    let block = "encoder.down.0.block.0.conv1.weight";
    let (huge, part) = (1 << 40, 1 << 33);
    for (name, names, tensor, shape) in [
        (
            "var",
            Names::Var,
            "encoder.conv_in.weight",
            &[huge, 0, 1, 1][..],
        ),
        (
            "var",
            Names::Var,
            "encoder.conv_in.weight",
            &[0, huge, huge, huge],
        ),
        (
            "var",
            Names::Var,
            "encoder.mid.attn_1.qkv.weight",
            &[3 * huge, 0, 1, 1],
        ),
        (
            "var",
            Names::Var,
            "encoder.conv_in.weight",
            &[1, 1, 1, 1, 1, 1],
        ),
        ("maskgit", Names::MaskGit, block, &[huge, 0, 3, 3]),
        ("maskgit", Names::MaskGit, block, &[1 << 20, 0, 3, 3]),
        ("maskgit", Names::MaskGit, block, &[]),
        ("maskgit", Names::MaskGit, block, &[64, 1]),
        (
            "maskgit",
            Names::MaskGit,
            block.replace("conv1", "conv2").as_str(),
            &[60_000, 1, 3, 3],
        ),
        (
            "maskgit",
            Names::MaskGit,
            "encoder.conv_out.weight",
            &[60_000, 1, 1, 1],
        ),
        (
            "emu3",
            Names::Emu3,
            "encoder.time_conv.0.conv.conv.weight",
            &[0, huge, 4, part, part],
        ),
    ] {
        let mut all = published::tensors(name, names);
        all.retain(|(name, ..)| name != tensor);
        all.push(ones(tensor, shape));
        published::write(&file, &all);
        let error = read(&file, None).unwrap_err().to_string();
        assert!(
            error.contains(tensor) && error.contains("shape"),
            "{shape:?}: {error}"
        );
    }
    // A batch norm that is wider than the convolution behind it.
    let mut all = published::tensors("emu3", Names::Emu3);
    let norm = "encoder.time_res_stack.0.norm1.";
    let wide = all.iter_mut().filter(|(name, ..)| name.starts_with(norm));
    wide.for_each(|tensor| *tensor = ones(&tensor.0, &[60_000]));
    published::write(&file, &all);
    let error = read(&file, None).unwrap_err().to_string();
    assert!(
        error.contains("block.0.norm1") && error.contains("60000"),
        "{error}"
    );
    // More resolutions than a number has bits.
    let mut all = published::tensors("var", Names::Var);
    for i in 3..70 {
        for part in ["block.0.conv1", "attn.0.q"] {
            all.push(ones(
                &format!("encoder.down.{i}.{part}.weight"),
                &[1, 1, 1, 1],
            ));
        }
    }
    published::write(&file, &all);
    let error = read(&file, None).unwrap_err().to_string();
    assert!(
        error.contains("70 resolutions") && error.contains("down.69"),
        "{error}"
    );
    let maps = ["frozen_codebook", "code_transform.weight"].map(|name| ones(name, &[50_000, 1]));
    published::write(&file, &maps.to_vec());
    let error = read_codebook(&file, None, None).unwrap_err().to_string();
    assert!(
        error.contains("frozen_codebook") && error.contains("50000"),
        "{error}"
    );
}
