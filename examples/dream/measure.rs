//! Dreams held against the game: from several starts that no model has seen, the game goes on under
//! a player's keys, and the dream under the same keys, given the first frame alone.

use super::court::PIXELS;
use super::frames::Frames;
use super::game::{Game, Key, PADDLE, PADDLE_ROW, Player, SIDE};
use super::host::Host;
use super::world::World;
use wgvq::Result;
use wgvq::spec::Rng;

/// Frames that a game has gone on before a dream of it begins.
const BEFORE: usize = 8;
const BYTES: usize = PIXELS * PIXELS * 3;

/// A game from a start on, and the keys that were held.
#[derive(Clone)]
pub struct Start {
    /// The states, one more than keys.
    pub games: Vec<Game>,
    pub keys: Vec<Key>,
}

impl Start {
    /// Plays from a start: under these keys, none once they have ended, or under a player's.
    pub fn new(seed: u64, steps: usize, keys: Option<&[Key]>) -> Start {
        let (mut rng, mut player) = (Rng::new(seed), Player::new(seed));
        let mut game = Game::at_random(&mut rng);
        for _ in 0..BEFORE {
            let key = player.key(&game);
            game.step(key);
        }
        let (mut games, mut held) = (vec![game.clone()], Vec::new());
        for i in 0..steps {
            let key = match keys {
                Some(keys) => keys.get(i).copied().unwrap_or_default(),
                None => player.key(&game),
            };
            game.step(key);
            held.push(key);
            games.push(game.clone());
        }
        Start { games, keys: held }
    }
}

/// Errors of the frames that are so many steps from their starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    /// Mean squared errors of dreamt frames, of the first frame held still, and of the game's
    /// frames encoded and decoded; pixels in [0, 1].
    pub dreamt: f64,
    pub still: f64,
    pub decoded: f64,
    /// Shares of the dreams whose ball lies at most a cell from the game's, and whose paddle lies
    /// in its place.
    pub ball: f64,
    pub paddle: f64,
}

impl Errors {
    fn add(&mut self, other: &Errors, weight: f64) {
        self.dreamt += weight * other.dreamt;
        self.still += weight * other.still;
        self.decoded += weight * other.decoded;
        self.ball += weight * other.ball;
        self.paddle += weight * other.paddle;
    }
}

/// Returns the ratio of the largest signal to the noise, in dB.
pub fn psnr(squared_error: f64) -> f64 {
    -10.0 * squared_error.log10()
}

/// Dreams of several starts, held against the game.
pub struct Comparison {
    /// Means over the dreams, by step.
    pub steps: Vec<Errors>,
    /// Means over all steps.
    pub all: Errors,
    /// The frames of each start, u8 [steps + 1, H, W, 3]: the game's, and the dreamt ones behind
    /// the first frame decoded.
    pub real: Vec<Vec<u8>>,
    pub dreamt: Vec<Vec<u8>>,
}

/// Dreams from each of the starts, of as many steps each.
pub fn compare(
    host: &Host,
    frames: &Frames,
    world: &World,
    starts: &[Start],
) -> Result<Comparison> {
    let steps = starts
        .iter()
        .map(|start| start.keys.len())
        .min()
        .unwrap_or(0);
    let firsts: Vec<Game> = starts.iter().map(|start| start.games[0].clone()).collect();
    let mut codes = frames.codes(host, &world.tokenizer, &firsts)?;
    let mut dreamt = vec![Vec::new(); starts.len()];
    let mut keep = |codes: &[u32]| -> Result<Vec<u8>> {
        let pixels = world.tokenizer.decode(codes)?;
        for (dream, frame) in dreamt.iter_mut().zip(pixels.chunks(BYTES)) {
            dream.extend(frame);
        }
        Ok(pixels)
    };
    keep(&codes)?;
    let still = frames.pixels(host, &firsts)?;
    let mut real: Vec<Vec<u8>> = still.chunks(BYTES).map(<[u8]>::to_vec).collect();
    let mut by_step = Vec::new();
    for step in 0..steps {
        let keys: Vec<Key> = starts.iter().map(|start| start.keys[step]).collect();
        codes = world.next(&codes, &keys, step as u64)?;
        let dreamt = keep(&codes)?;
        let games: Vec<Game> = starts.iter().map(|s| s.games[step + 1].clone()).collect();
        let now = frames.pixels(host, &games)?;
        let kept = frames.codes(host, &world.tokenizer, &games)?;
        by_step.push(Errors {
            dreamt: squared_error(&dreamt, &now),
            still: squared_error(&still, &now),
            decoded: squared_error(&world.tokenizer.decode(&kept)?, &now),
            ball: share(&dreamt, &games, |frame, game| {
                let [x, y] = ball_of(frame);
                (x - game.ball[0]).abs().max((y - game.ball[1]).abs()) <= 1
            }),
            paddle: share(&dreamt, &games, |frame, game| {
                paddle_of(frame) == game.paddle
            }),
        });
        for (film, frame) in real.iter_mut().zip(now.chunks(BYTES)) {
            film.extend(frame);
        }
    }
    let mut all = Errors::default();
    for errors in &by_step {
        all.add(errors, 1.0 / by_step.len() as f64);
    }
    Ok(Comparison {
        steps: by_step,
        all,
        real,
        dreamt,
    })
}

fn squared_error(a: &[u8], b: &[u8]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| {
        let difference = (f64::from(*a) - f64::from(*b)) / 255.0;
        difference * difference
    });
    squares.sum::<f64>() / a.len().max(1) as f64
}

fn share(frames: &[u8], games: &[Game], holds: impl Fn(&[u8], &Game) -> bool) -> f64 {
    let pairs = frames.chunks(BYTES).zip(games);
    pairs.filter(|(frame, game)| holds(frame, game)).count() as f64 / games.len().max(1) as f64
}

/// Returns the sum of what `of` makes of the four pixels of a cell.
fn cell(frame: &[u8], [x, y]: [i32; 2], of: impl Fn([i32; 3]) -> i32) -> i32 {
    let pixel = |dx: i32, dy: i32| {
        let at = 3 * ((2 * y + dy) * PIXELS as i32 + 2 * x + dx) as usize;
        of([0, 1, 2].map(|c| i32::from(frame[at + c])))
    };
    pixel(0, 0) + pixel(1, 0) + pixel(0, 1) + pixel(1, 1)
}

/// Returns the cell that is nearest to white: the ball's.
pub fn ball_of(frame: &[u8]) -> [i32; 2] {
    let cells = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| [x, y]));
    let white = |at: &[i32; 2]| cell(frame, *at, |rgb| rgb.into_iter().min().unwrap_or(0));
    cells.max_by_key(white).unwrap_or_default()
}

/// Returns the place in the paddle's row that is most of the paddle's colour: blue, not red.
pub fn paddle_of(frame: &[u8]) -> i32 {
    let colour = |x: i32| cell(frame, [x, PADDLE_ROW], |[red, _, blue]| blue - red);
    let sum = |first: &i32| (*first..first + PADDLE).map(colour).sum::<i32>();
    (0..=SIDE - PADDLE).max_by_key(sum).unwrap_or(0)
}
