use super::*;

#[test]
fn every_workload_is_found_by_its_name() {
    let all: Vec<Workload> = standard()
        .unwrap()
        .into_iter()
        .chain(kernels().unwrap())
        .collect();
    assert!(all.len() > 30);
    for workload in &all {
        let again = find(&workload.name).unwrap_or_else(|e| panic!("{}: {e}", workload.name));
        assert_eq!(
            (again.name(), again.case()),
            (workload.name(), workload.case())
        );
    }
    assert_eq!(
        find("vqvae_train_step_b8").unwrap().case(),
        case(&[("b", 8)])
    );
    for kind in crate::quantize::all() {
        let step = Workload::train_step_of(kind, 4);
        assert_eq!(find(step.name()).unwrap().name(), step.name());
    }
    for work in PriorWork::all() {
        assert_eq!(find(&work.name()).unwrap().name(), work.name());
    }
    for launch in Launch::all() {
        assert_eq!(find(&launch.name()).unwrap().name(), launch.name());
    }
    assert!(find("launch_d0").is_err());
    assert_eq!(
        find("quantizer_ema_n64_k8_d4").unwrap().case(),
        case(&[("n", 64), ("k", 8), ("d", 4)])
    );
}

#[test]
fn names_that_stand_for_nothing_are_refused_with_the_nearest() {
    for (name, said) in [
        ("matmul_1023", "matmul_1024"),
        ("vq_search_n0_k8_d4", "n of at least 1"),
        ("vq_search_n8_k8", "n,k,d"),
        ("vq_search_n8_k8_d8_fwd_bwd", "no gradient"),
        ("vq_searh_n8_k8_d8", "vq_search"),
        ("quantizer_emu_n8_k8_d8", "ema"),
        ("conv2d_n1_h1_w1_i1_o1_kh9_kw9_s1_p0_relu0", "larger than"),
    ] {
        let error = find(name).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
}
