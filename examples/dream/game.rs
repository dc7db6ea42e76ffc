//! The rules of the game: a court of 16 x 16 cells, with a paddle, a ball and bricks. The next
//! frame follows from a frame and a key: no rule draws lots.

use wgvq::spec::Rng;

/// Cells of the court, each way.
pub const SIDE: i32 = 16;
/// The row in which the paddle moves, and its length in cells.
pub const PADDLE_ROW: i32 = 14;
pub const PADDLE: i32 = 4;
/// The row of the first bricks; the second row lies below it.
pub const BRICK_ROW: i32 = 2;
/// Length of a brick in cells.
pub const BRICK: i32 = 4;
/// The cell at which a new ball begins, on its way down and to the right.
pub const SERVE: [i32; 2] = [7, 6];

/// The key that is held during a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    Left,
    #[default]
    None,
    Right,
}

impl Key {
    pub const ALL: [Key; 3] = [Key::Left, Key::None, Key::Right];
    /// The names of the classes that keys are to the prior.
    pub const NAMES: [&str; 3] = ["left", "none", "right"];

    /// Returns the cells by which the paddle moves.
    fn moves(self) -> i32 {
        self as i32 - 1
    }

    /// Returns the class of frames that follow on this key.
    pub fn class(self) -> u32 {
        self as u32
    }
}

/// The state of the game, all of which is seen in its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Game {
    /// Column and row of the ball.
    pub ball: [i32; 2],
    /// The ball's last two places, which are drawn as its trail. The ball always lies one cell
    /// from the first of them, in the direction in which it moves.
    pub trail: [[i32; 2]; 2],
    /// Cells by which the ball moves in a frame.
    pub velocity: [i32; 2],
    /// Column of the paddle's left end.
    pub paddle: i32,
    /// Whether each brick stands, by row and place.
    pub bricks: [[bool; (SIDE / BRICK) as usize]; 2],
}

impl Game {
    /// Returns a new game.
    pub fn new() -> Game {
        Game {
            ball: SERVE,
            trail: [back(SERVE, [1, 1], 1), back(SERVE, [1, 1], 2)],
            velocity: [1, 1],
            paddle: (SIDE - PADDLE) / 2,
            bricks: [[true; 4]; 2],
        }
    }

    /// Returns a game that is under way: the ball somewhere between bricks and paddle, some bricks
    /// gone.
    pub fn at_random(rng: &mut Rng) -> Game {
        let ball = [2 + rng.below(12) as i32, 6 + rng.below(7) as i32];
        let velocity = [0; 2].map(|_| [-1, 1][rng.below(2)]);
        let gone = rng.uniform();
        let mut brick = || rng.uniform() >= gone;
        let bricks = [[(); 4]; 2].map(|row| row.map(|()| brick()));
        let mut game = Game {
            ball,
            trail: [back(ball, velocity, 1), back(ball, velocity, 2)],
            velocity,
            paddle: rng.below((SIDE - PADDLE + 1) as usize) as i32,
            bricks,
        };
        game.rebuild();
        game
    }

    /// Goes on by a frame: first the paddle moves, then the ball.
    pub fn step(&mut self, key: Key) {
        self.paddle = (self.paddle + key.moves()).clamp(0, SIDE - PADDLE);
        let [x, y] = self.ball;
        if y == SIDE - 1 {
            // It has left the court.
            *self = Game {
                paddle: self.paddle,
                bricks: self.bricks,
                ..Game::new()
            };
            return;
        }
        self.turn_at_walls(x);
        if y + self.velocity[1] < 0 {
            self.velocity[1] = 1;
        }
        if let Some(brick) = self.brick(x + self.velocity[0], y + self.velocity[1]) {
            *brick = false;
            self.velocity[1] *= -1;
            self.rebuild();
        } else if self.velocity[1] == 1 && y + 1 == PADDLE_ROW {
            let at = x + self.velocity[0] - self.paddle;
            if (0..PADDLE).contains(&at) {
                // Either half sends the ball to its own side.
                self.velocity = [if at < PADDLE / 2 { -1 } else { 1 }, -1];
                self.turn_at_walls(x);
            }
        }
        self.trail = [self.ball, self.trail[0]];
        self.ball = [x + self.velocity[0], y + self.velocity[1]];
    }

    /// Turns the ball in column `x` where its next place lies behind a wall.
    fn turn_at_walls(&mut self, x: i32) {
        if !(0..SIDE).contains(&(x + self.velocity[0])) {
            self.velocity[0] *= -1;
        }
    }

    /// Returns the brick that stands in a cell.
    fn brick(&mut self, x: i32, y: i32) -> Option<&mut bool> {
        let row = usize::try_from(y - BRICK_ROW).ok()?;
        let brick = self.bricks.get_mut(row)?.get_mut((x / BRICK) as usize)?;
        brick.then_some(brick)
    }

    /// Puts up all bricks where none is left.
    fn rebuild(&mut self) {
        if self.bricks.iter().flatten().all(|stands| !stands) {
            self.bricks = [[true; 4]; 2];
        }
    }
}

/// Returns the cell at which the ball was so many frames before, on a straight way.
fn back(from: [i32; 2], velocity: [i32; 2], frames: i32) -> [i32; 2] {
    [0, 1].map(|i| from[i] - frames * velocity[i])
}

/// Keys as someone plays: for some frames they follow the ball, for some others one key is held.
#[derive(Clone, Debug)]
pub struct Player {
    rng: Rng,
    held: Option<Key>,
    frames: usize,
}

impl Player {
    /// Returns a player; the same seed gives the same keys in the same game.
    pub fn new(seed: u64) -> Player {
        Player {
            rng: Rng::new(seed),
            held: None,
            frames: 0,
        }
    }

    /// Returns the next key.
    pub fn key(&mut self, game: &Game) -> Key {
        if self.frames == 0 {
            let follows = self.rng.uniform() < 0.6;
            self.held = (!follows).then(|| Key::ALL[self.rng.below(3)]);
            self.frames = 2 + self.rng.below(if follows { 12 } else { 5 });
        }
        self.frames -= 1;
        self.held.unwrap_or_else(|| {
            // Twice the distance from the paddle's middle to the ball's.
            match 2 * game.ball[0] + 1 - (2 * game.paddle + PADDLE) {
                ..=-2 => Key::Left,
                -1..=1 => Key::None,
                2.. => Key::Right,
            }
        })
    }
}
