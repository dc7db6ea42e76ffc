use super::*;

const TWO: Shape = Shape {
    width: 2,
    height: 1,
    channels: 3,
};
const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

#[test]
fn pixels_become_squares_and_pairs_stand_over_one_another() {
    let originals = [RED, BLUE, BLUE, RED].concat();
    let reconstructions = [BLUE, BLUE, RED, RED].concat();
    let layout = Layout {
        columns: 2,
        tile: 7,
        gap: 4,
        labels: false,
    };
    let canvas = pairs(&originals, &reconstructions, TWO, layout).unwrap();
    // 7 / 2 = 3: each image is 6 x 3.
    assert_eq!(
        (canvas.width(), canvas.height()),
        (6 + 4 + 6, 3 + WITHIN + 3)
    );
    let at = |x, y| canvas.get(x, y);
    assert_eq!(at(2, 2), Colour(255, 0, 0));
    assert_eq!(at(3, 0), Colour(0, 0, 255));
    assert_eq!(at(7, 1), Colour::WHITE);
    assert_eq!(at(10, 1), Colour(0, 0, 255));
    assert_eq!(at(15, 1), Colour(255, 0, 0));
    assert_eq!(at(0, 3 + WITHIN), Colour(0, 0, 255));
    assert_eq!(at(15, 3 + WITHIN), Colour(255, 0, 0));
}

#[test]
fn grey_and_transparent_images_are_shown() {
    let grey = images(
        &[7, 200],
        Shape {
            width: 1,
            height: 1,
            channels: 1,
        },
        Layout {
            gap: 0,
            tile: 1,
            columns: 2,
            labels: false,
        },
    );
    assert_eq!(grey.unwrap().pixels(), [7, 7, 7, 200, 200, 200]);
    let shape = Shape {
        width: 1,
        height: 1,
        channels: 4,
    };
    let layout = Layout {
        gap: 0,
        tile: 1,
        columns: 3,
        labels: false,
    };
    let clear = images(&[9, 9, 9, 0, 9, 8, 7, 255, 0, 100, 255, 51], shape, layout).unwrap();
    assert_eq!(clear.pixels(), [255, 255, 255, 9, 8, 7, 204, 224, 255]);
}

#[test]
fn large_images_shrink_to_means_of_squares() {
    let shape = Shape {
        width: 3,
        height: 2,
        channels: 1,
    };
    let canvas = images(
        &[0, 10, 50, 20, 30, 70],
        shape,
        Layout {
            columns: 1,
            tile: 2,
            gap: 0,
            labels: false,
        },
    )
    .unwrap();
    assert_eq!((canvas.width(), canvas.height()), (2, 1));
    assert_eq!(
        (canvas.get(0, 0), canvas.get(1, 0)),
        (Colour(15, 15, 15), Colour(60, 60, 60))
    );
}

#[test]
fn misfits_are_refused() {
    let layout = Layout::default();
    assert!(images(&[], TWO, layout).is_err(), "no image");
    assert!(images(&[0; 7], TWO, layout).is_err(), "half an image");
    assert!(
        images(
            &[0; 4],
            Shape {
                width: 2,
                height: 1,
                channels: 2
            },
            layout
        )
        .is_err(),
        "two channels"
    );
    assert!(
        images(
            &[0; 6],
            Shape {
                width: 0,
                height: 1,
                channels: 3
            },
            layout
        )
        .is_err(),
        "no width"
    );
    assert!(
        images(
            &[0; 6],
            Shape {
                width: usize::MAX,
                height: 3,
                channels: 3
            },
            layout
        )
        .is_err(),
        "overflow"
    );
    assert!(
        pairs(&[0; 6], &[0; 12], TWO, layout).is_err(),
        "a missing original"
    );
    assert!(
        images(
            &[0; 6],
            TWO,
            Layout {
                gap: usize::MAX,
                ..layout
            }
        )
        .is_err(),
        "a gap without end"
    );
    assert!(
        images(
            &[0; 6],
            TWO,
            Layout {
                tile: usize::MAX,
                ..layout
            }
        )
        .is_err(),
        "a tile without end"
    );
    assert!(
        images(
            &[0; 6],
            TWO,
            Layout {
                tile: 0,
                columns: usize::MAX,
                ..layout
            }
        )
        .is_ok()
    );
}

#[test]
fn fitted_grids_stay_within_their_room() {
    for (w, h) in [
        (28, 28),
        (32, 32),
        (64, 48),
        (96, 160),
        (256, 256),
        (3000, 2000),
        (1, 1),
    ] {
        for count in [1, 2, 7, 8, 16, 24] {
            let shape = Shape {
                width: w,
                height: h,
                channels: 1,
            };
            let layout = fit(count, shape, 1200, 520);
            let (tw, th) = shape.tile_size(layout.tile);
            let wide = extent(layout.columns, tw, layout.gap, GUTTER);
            assert!(wide <= 1200, "{count} of {w} x {h}: {wide} wide");
            assert!(tw.max(th) <= 256, "{count} of {w} x {h}: tile {tw} x {th}");
        }
    }
}

#[test]
fn as_many_images_as_a_picture_holds_are_shown() {
    let one = Shape {
        width: 1,
        height: 1,
        channels: 1,
    };
    let layout = Layout {
        tile: 4096,
        gap: 0,
        ..Layout::default()
    };
    // 2 x 2 of them are the largest picture there may be.
    assert_eq!(
        [0, 3, 4, 5, 900].map(|n| fitting(n, one, layout)),
        [0, 3, 4, 4, 4]
    );
    assert!(images(&[0; 5], one, layout).is_err());
    let row = Layout {
        columns: 9,
        ..layout
    };
    assert_eq!(fitting(9, one, row), 4);
    let usual = fitting(1 << 20, one, Layout::default());
    assert!((6600..6720).contains(&usual), "{usual}");
}
