use super::*;
use proptest::prelude::*;

fn names() -> Vec<String> {
    vec!["cat".into(), "dog".into()]
}

/// Ten images: seven cats, two dogs, and one without a class.
fn classes() -> Vec<Option<u32>> {
    let mut all = vec![Some(0); 7];
    all.extend([Some(1), Some(1), None]);
    all
}

fn order(weights: &ClassWeights) -> Result<Option<Arc<ClassOrder>>> {
    weights.order("data.class_weights", "pets", &names(), 2, &classes())
}

/// The images of some epochs, read in batches of 3.
fn epochs(order: &ClassOrder, seed: u64, epochs: usize) -> Vec<u32> {
    let n = epochs * order.epoch as usize;
    let steps = n.div_ceil(3) as u64;
    let mut all: Vec<u32> = (0..steps).flat_map(|s| order.batch(seed, s, 3)).collect();
    all.truncate(n);
    all
}

fn counts(images: &[u32], n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    images.iter().for_each(|i| counts[*i as usize] += 1);
    counts
}

#[test]
fn balanced_classes_come_as_often_and_so_do_the_images_of_each() {
    let order = order(&ClassWeights::Balanced).unwrap().unwrap();
    // 4.5 places for each class and one for the image without, to whole numbers.
    for epoch in epochs(&order, 3, 20).chunks(10) {
        let c = counts(epoch, 10);
        let [cats, dogs] = [&c[..7], &c[7..9]].map(|c| c.iter().sum::<usize>());
        assert_eq!((cats, dogs, c[9]), (5, 4, 1));
    }
    // 100 draws of seven cats, 80 of two dogs: all of a class within one of each other.
    let c = counts(&epochs(&order, 3, 20), 10);
    assert!(c[..7].iter().all(|n| [14, 15].contains(n)), "{c:?}");
    assert_eq!(c[7..], [40, 40, 20]);
}

#[test]
fn a_weight_multiplies_how_often_an_image_of_its_class_comes() {
    let order = order(&ClassWeights::Each(vec![0.0, 4.5])).unwrap().unwrap();
    assert_eq!(counts(&epochs(&order, 0, 4), 10)[..7], [0; 7]);
    // 9 of weight and 1: the dogs have nine of ten places.
    assert_eq!(counts(&epochs(&order, 0, 4), 10)[7..], [18, 18, 4]);
    // However small a weight above 0 is, an epoch has one of them.
    let rare = ClassWeights::Each(vec![1e-300, 1e300]);
    let rare = super::tests::order(&rare).unwrap().unwrap();
    assert_eq!(
        counts(&epochs(&rare, 0, 1), 10)[..7].iter().sum::<usize>(),
        1
    );
    let largest = super::tests::order(&ClassWeights::Each(vec![f64::MAX, 1.0]));
    let drawn = counts(&epochs(&largest.unwrap().unwrap(), 0, 1), 10);
    assert!(drawn[..7].iter().sum::<usize>() > 7, "{drawn:?}");
}

/// A second implementation, in Python, gave these numbers: resuming across builds rests on them.
#[test]
fn the_order_is_the_same_in_every_version() {
    let order = order(&ClassWeights::Balanced).unwrap().unwrap();
    assert_eq!(order.batch(0, 0, 10), [1, 2, 7, 5, 9, 8, 7, 8, 0, 4]);
    assert_eq!(order.batch(42, 123_456, 6), [0, 4, 7, 1, 7, 3]);
    assert_ne!(order.batch(1, 0, 10), order.batch(0, 0, 10));
}

#[test]
fn what_cannot_be_weighed_is_refused_with_the_classes() {
    let refused = |weights: &ClassWeights, words: &[&str]| {
        let checked = weights.check("data.class_weights");
        let error = checked.and_then(|()| order(weights).map(drop));
        let error = error.unwrap_err().to_string();
        for words in [&["data.class_weights"][..], words].concat() {
            assert!(error.contains(words), "{words}: {error}");
        }
    };
    refused(
        &ClassWeights::Each(vec![1.0]),
        &["1 numbers", "2 classes: cat (7 images), dog (2 images)"],
    );
    refused(&ClassWeights::Each(vec![1.0, -2.0]), &["-2 is not allowed"]);
    refused(&ClassWeights::Each(vec![1.0, f64::NAN]), &["NaN"]);
    refused(&ClassWeights::Each(vec![0.0, 0.0]), &["no weight above 0"]);
    refused(&ClassWeights::Each(Vec::new()), &["no weight above 0"]);
    let none = [None, None];
    let error = ClassWeights::Balanced.order("train.class_weights", "pets", &[], 0, &none);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("train.class_weights") && error.contains("pets have none"));
    // The only class with a weight has no image to train on.
    let cats = [Some(0), Some(0)];
    let weights = ClassWeights::Each(vec![0.0, 1.0]);
    let error = weights.order("data.class_weights", "pets", &names(), 2, &cats);
    assert!(error.unwrap_err().to_string().contains("weight of 0"));
    assert_eq!(order(&ClassWeights::None).unwrap(), None);
}

proptest! {
    #[test]
    fn an_epoch_has_its_places_and_a_step_depends_on_nothing_before_it(
        seed: u64,
        step in 0u64..1 << 60,
        class_of in proptest::collection::vec(proptest::option::of(0u32..5), 1..200),
        weights in proptest::collection::vec(0.0f64..10.0, 5),
    ) {
        let weights = ClassWeights::Each(weights);
        let Ok(order) = weights.order("k", "d", &[], 5, &class_of) else {
            // No image has a class that weighs something.
            return Ok(());
        };
        let order = order.unwrap();
        let n = order.epoch as usize;
        prop_assert_eq!(n, class_of.len());
        prop_assert_eq!(order.shares.last().unwrap().places.end as usize, n);
        let whole = order.batch(seed, step, 12);
        let parts: Vec<u32> = (0..3).flat_map(|i| order.batch(seed, step * 3 + i, 4)).collect();
        prop_assert_eq!(&whole, &parts);
        prop_assert!(whole.iter().all(|i| (*i as usize) < n));
    }
}
