//! Paraphrase mining: the pairs of rows that are most alike, of all pairs that there are. `paraphrase_mining_embeddings` of
//! sentence-transformers 6.2 (`util/retrieval.py`); here equal scores have an order, so that the result depends on nothing else.
//!
//! Not here: communities of rows, and texts.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::scan::{Memory, QUERIES, Scan, in_blocks};
use crate::similarity::{self, Similarity};
use crate::top_k::{Best, Hit, Ranked, offer, score_to_beat};

/// What is mined; the defaults are those of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MineOptions {
    /// How rows are compared. Default: cosine.
    pub similarity: Similarity,
    /// The most partners of a row that are looked at. Default: 100.
    pub top_k: usize,
    /// The most pairs of the result. Default: 500,000.
    pub max_pairs: usize,
    /// Pairs below this score are left out. Default: none are.
    pub min_score: Option<f32>,
}

impl Default for MineOptions {
    fn default() -> Self {
        Self { similarity: Similarity::Cosine, top_k: 100, max_pairs: 500_000, min_score: None }
    }
}

/// Two rows and how alike they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinedPair {
    /// The lower row, from zero.
    pub first: usize,
    /// The higher row.
    pub second: usize,
    /// The similarity; higher is more alike.
    pub score: f32,
}

/// Rows that one task compares with a block of queries, before memory is looked after.
const ROWS: usize = 8192;
/// What a state begins with.
const MAGIC: &[u8] = b"sentir-mining-1\n";

/// The pairs of rows with the highest scores, best first, equal scores by the rows. A pair is found if one of the two is among the
/// `top_k` rows most similar to the other; it comes once.
///
/// `progress` is told how many pairs of how many were compared, about once a second, and ends the work by returning false.
///
/// # Errors
/// Those of [`Mining::new`]; [`Error::Interrupted`] if the work was ended.
pub fn paraphrase_mining(
    rows: &Rows,
    options: &MineOptions,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Vec<MinedPair>> {
    let mut mining = Mining::new(rows, options)?;
    loop {
        let (done, all) = mining.progress();
        if !progress(done, all) {
            return Err(Error::Interrupted);
        }
        if !mining.step() {
            return Ok(mining.pairs());
        }
    }
}

/// [`paraphrase_mining`] step by step, so that it can be left and gone on with: the result is the same.
///
/// Every pair is compared once, for both of its rows. Memory beside the rows (and their copies of unit length, for cosine) is that of some
/// `max_pairs` pairs, or of `top_k` partners for each row, if that is less.
#[derive(Debug)]
pub struct Mining<'a> {
    rows: Cow<'a, Rows>,
    options: MineOptions,
    /// The best partners of each row so far, the row itself among them if it is one of the best: up to `top_k + 1`.
    partners: Vec<Mutex<Best>>,
    /// For each row, the bits of the score below which it takes no partner.
    floors: Vec<AtomicU32>,
    /// No pair below it is in the result.
    floor: f32,
    /// How many partners there are.
    held: AtomicUsize,
    /// The first row that was not yet compared with all that follow it.
    next: usize,
    /// What states begin with: what is mined.
    head: Vec<u8>,
}

impl<'a> Mining<'a> {
    /// At the beginning.
    ///
    /// # Errors
    /// If there are fewer than two rows or more than 2³², or a row has NaN or infinity.
    pub fn new(rows: &'a Rows, options: &MineOptions) -> Result<Self> {
        let count = rows.rows();
        if count < 2 || u32::try_from(count).is_err() {
            return Err(Error::Setting(format!("pairs need two rows to 2³²; there are {count}")));
        }
        if let Some(row) = rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
            return Err(Error::Setting(format!("row {row} holds NaN or infinity: it is like nothing")));
        }
        let floor = options.min_score.unwrap_or(f32::NEG_INFINITY);
        let rows = similarity::prepared(rows, options.similarity);
        Ok(Self {
            head: head(&rows, options),
            rows,
            options: *options,
            partners: (0..count).map(|_| Mutex::default()).collect(),
            floors: (0..count).map(|_| AtomicU32::new(floor.to_bits())).collect(),
            floor,
            held: AtomicUsize::new(0),
            next: 0,
        })
    }

    /// How many pairs were compared, and how many there are, each row with itself included.
    pub fn progress(&self) -> (u64, u64) {
        let pairs = |rows: usize| rows as u64 * (rows as u64 + 1) / 2;
        let all = pairs(self.rows.rows());
        (all - pairs(self.rows.rows() - self.next), all)
    }

    /// Compares the next thousand rows with all that follow them. Returns false if none were left.
    pub fn step(&mut self) -> bool {
        let (count, width) = self.rows.shape().into();
        if self.next == count {
            return false;
        }
        let first = self.next;
        let last = (first + QUERIES).min(count);
        let scan =
            Scan::new(&self.rows.as_slice()[first * width..last * width], width, self.options.similarity);
        for start in (first..count).step_by(ROWS) {
            self.compare(&scan, first..last, start..(start + ROWS).min(count));
            self.make_room();
        }
        self.next = last;
        true
    }

    /// Offers all pairs of `queries` and later `rows` to both.
    fn compare(&self, scan: &Scan, queries: Range<usize>, rows: Range<usize>) {
        let (width, block) = (self.rows.width(), scan.block());
        let floor = |row: usize| f32::from_bits(self.floors[row].load(Relaxed));
        in_blocks(rows, block, |blocks| {
            let (mut memory, mut found, mut floors) = (Memory::default(), Vec::new(), Vec::new());
            for Range { start, end } in blocks {
                floors.clear();
                floors.extend(queries.clone().map(floor));
                let values = &self.rows.as_slice()[start * width..end * width];
                scan.reaching(values, &floors, |row| floor(start + row), &mut memory, &mut found);
                for found in &found {
                    let (query, row) = (queries.start + found.query as usize, start + found.row as usize);
                    // Below the diagonal a pair comes a second time.
                    if query <= row {
                        self.offer(query, row, found.score);
                    }
                    if query < row {
                        self.offer(row, query, found.score);
                    }
                }
            }
        });
    }

    /// The order of hits is total: it does not matter who comes first.
    fn offer(&self, row: usize, partner: usize, score: f32) {
        if score < f32::from_bits(self.floors[row].load(Relaxed)) {
            return;
        }
        let most = self.options.top_k.saturating_add(1);
        let mut best = self.partners[row].lock().unwrap_or_else(PoisonError::into_inner);
        let before = best.len();
        offer(&mut best, most, Hit { index: partner, score });
        self.held.fetch_add(best.len() - before, Relaxed);
        let floor = score_to_beat(&best, most).max(self.floor);
        self.floors[row].store(floor.to_bits(), Relaxed);
    }

    /// If many more partners are held than can be in the result, drops some that cannot. A row never loses partners above a score but to
    /// better ones, and a pair has two rows: once twice `max_pairs` partners reach a score, so do `max_pairs` pairs of the result.
    fn make_room(&mut self) {
        let wanted = self.options.max_pairs.saturating_mul(2);
        if *self.held.get_mut() < wanted.saturating_mul(2).saturating_add(self.rows.rows()) || wanted == 0 {
            return;
        }
        let mut scores = Vec::with_capacity(*self.held.get_mut());
        for (row, best) in self.partners.iter_mut().enumerate() {
            let best = best.get_mut().unwrap_or_else(PoisonError::into_inner);
            let others = best.iter().filter(|hit| hit.0.index != row).map(|hit| hit.0.score);
            // The last of top_k + 1, if the row itself is not among them, does not count.
            let before = scores.len();
            scores.extend(others);
            if scores.len() - before > self.options.top_k {
                let worst = score_to_beat(best, 0);
                if let Some(at) = scores[before..].iter().position(|score| *score == worst) {
                    scores.swap_remove(before + at);
                }
            }
        }
        if scores.len() < wanted {
            return;
        }
        let (_, &mut floor, _) = scores.select_nth_unstable_by(wanted - 1, |a, b| b.total_cmp(a));
        self.floor = self.floor.max(floor);
        let most = self.options.top_k.saturating_add(1);
        let mut held = 0;
        for (best, own) in self.partners.iter_mut().zip(&self.floors) {
            let best = best.get_mut().unwrap_or_else(PoisonError::into_inner);
            best.retain(|hit| hit.0.score >= self.floor);
            held += best.len();
            own.store(score_to_beat(best, most).max(self.floor).to_bits(), Relaxed);
        }
        *self.held.get_mut() = held;
    }

    /// The pairs, of those rows that were compared so far.
    pub fn pairs(self) -> Vec<MinedPair> {
        let mut pairs = Vec::with_capacity(self.held.into_inner());
        for (row, best) in self.partners.into_iter().enumerate() {
            let best = best.into_inner().unwrap_or_else(PoisonError::into_inner).into_sorted_vec();
            let others = best.into_iter().map(|Ranked(hit)| hit).filter(|hit| hit.index != row);
            pairs.extend(others.take(self.options.top_k).map(|hit| {
                let (first, second) = (row.min(hit.index), row.max(hit.index));
                MinedPair { first, second, score: hit.score }
            }));
        }
        pairs.sort_unstable_by(|a, b| {
            b.score.total_cmp(&a.score).then(a.first.cmp(&b.first)).then(a.second.cmp(&b.second))
        });
        pairs.dedup();
        pairs.truncate(self.options.max_pairs);
        pairs
    }

    /// Everything that [`Mining::resume`] needs, after any step.
    pub fn state(&self) -> Vec<u8> {
        let mut state = self.head.clone();
        state.extend((self.next as u64).to_le_bytes());
        state.extend(self.floor.to_le_bytes());
        for best in &self.partners {
            let best = best.lock().unwrap_or_else(PoisonError::into_inner);
            state.extend((best.len() as u32).to_le_bytes());
            for Ranked(hit) in best.iter() {
                state.extend((hit.index as u32).to_le_bytes());
                state.extend(hit.score.to_le_bytes());
            }
        }
        state
    }

    /// Goes on from a [`Mining::state`] of the same rows and options.
    ///
    /// # Errors
    /// If it is a state of something else, or damaged; nothing is changed then.
    pub fn resume(&mut self, state: &[u8]) -> Result<()> {
        let damaged = || Error::Setting("the state of the mining is damaged: begin anew".to_owned());
        if !state.starts_with(MAGIC) {
            return Err(damaged());
        }
        let Some(mut rest) = state.strip_prefix(&self.head[..]) else {
            return Err(Error::Setting(
                "the state is of other texts, another model or other options: repeat those, or begin anew"
                    .to_owned(),
            ));
        };
        let next = usize::try_from(u64::from_le_bytes(take(&mut rest).ok_or_else(damaged)?))
            .map_err(|_| damaged())?;
        let floor = f32::from_le_bytes(take(&mut rest).ok_or_else(damaged)?);
        let (count, most) = (self.rows.rows(), self.options.top_k.saturating_add(1));
        let mut partners = Vec::with_capacity(count);
        for _ in 0..count {
            let own = u32::from_le_bytes(take(&mut rest).ok_or_else(damaged)?) as usize;
            if own > most || own > rest.len() / 8 {
                return Err(damaged());
            }
            let mut best = Best::with_capacity(own);
            for _ in 0..own {
                let index = u32::from_le_bytes(take(&mut rest).ok_or_else(damaged)?) as usize;
                let score = f32::from_le_bytes(take(&mut rest).ok_or_else(damaged)?);
                if index >= count {
                    return Err(damaged());
                }
                best.push(Ranked(Hit { index, score }));
            }
            partners.push(best);
        }
        if !rest.is_empty()
            || next > count
            || !(next == count || next.is_multiple_of(QUERIES))
            || floor.is_nan()
        {
            return Err(damaged());
        }
        (self.next, self.floor) = (next, floor);
        *self.held.get_mut() = partners.iter().map(Best::len).sum();
        for (own, best) in self.floors.iter().zip(&partners) {
            own.store(score_to_beat(best, most).max(floor).to_bits(), Relaxed);
        }
        self.partners = partners.into_iter().map(Mutex::new).collect();
        Ok(())
    }
}

/// What is mined, and a digest of the rows (FNV-1a of their words).
fn head(rows: &Rows, options: &MineOptions) -> Vec<u8> {
    let MineOptions { similarity, top_k, max_pairs, min_score } = *options;
    let mut head = MAGIC.to_vec();
    let digest = rows.as_slice().iter().fold(0xcbf2_9ce4_8422_2325u64, |digest, x| {
        (digest ^ u64::from(x.to_bits())).wrapping_mul(0x0100_0000_01b3)
    });
    let floor = min_score.map_or(u64::MAX, |score| u64::from(score.to_bits()));
    for number in [
        similarity as u64,
        top_k as u64,
        max_pairs as u64,
        floor,
        rows.rows() as u64,
        rows.width() as u64,
        digest,
    ] {
        head.extend(number.to_le_bytes());
    }
    head
}

/// The next bytes, taken off `rest`.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::similarity;

    /// All pairs, by the definition.
    fn naive(rows: &Rows, options: &MineOptions) -> Vec<MinedPair> {
        let scores = similarity::matrix(rows, rows, options.similarity).unwrap();
        let mut pairs: Vec<MinedPair> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for i in 0..rows.rows() {
            let mut others: Vec<usize> = (0..rows.rows()).collect();
            others.sort_by(|&a, &b| scores.row(i)[b].total_cmp(&scores.row(i)[a]).then(a.cmp(&b)));
            // As theirs: the row itself takes a place among the first top_k + 1, if it is there.
            others.truncate(options.top_k + 1);
            others.retain(|&j| j != i);
            others.truncate(options.top_k);
            for j in others {
                let (first, second) = (i.min(j), i.max(j));
                if seen.insert((first, second)) {
                    pairs.push(MinedPair { first, second, score: scores.row(i)[j] });
                }
            }
        }
        pairs.retain(|pair| options.min_score.is_none_or(|min| pair.score >= min));
        pairs.sort_by(|a, b| {
            b.score.total_cmp(&a.score).then(a.first.cmp(&b.first)).then(a.second.cmp(&b.second))
        });
        pairs.truncate(options.max_pairs);
        pairs
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn pairs_are_those_of_the_definition(
            values in prop::collection::vec(prop::sample::select(vec![-1.0f32, 0.0, 0.5, 1.0, 2.0]), 6..240),
            top_k in 1usize..8, max_pairs in 1usize..60, min_score in prop::option::of(-0.5f32..0.9),
        ) {
            let rows = Rows::new(values[..values.len() / 3 * 3].to_vec(), 3).unwrap();
            for similarity in [Similarity::Cosine, Similarity::Dot] {
                let options = MineOptions { similarity, top_k, max_pairs, min_score };
                let expected = naive(&rows, &options);
                for threads in [1, 2, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = pool.install(|| paraphrase_mining(&rows, &options, &mut |_, _| true).unwrap());
                    prop_assert_eq!(&found, &expected);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_mined_is_said() {
        let mine = |values: Vec<f32>, go_on: bool| {
            let rows = Rows::new(values, 2).unwrap();
            paraphrase_mining(&rows, &MineOptions::default(), &mut |_, _| go_on)
                .map_err(|error| error.to_string())
        };
        assert!(mine(vec![1.0, 0.0], true).unwrap_err().contains("need two rows"));
        assert!(mine(vec![1.0, 0.0, f32::NAN, 0.0], true).unwrap_err().contains("row 1"));
        assert!(mine(vec![1.0; 4], false).unwrap_err().contains("interrupted"));
        // Rows of zeros are like nothing, but they are rows.
        assert_eq!(mine(vec![0.0; 4], true).unwrap()[0].score, 0.0);
        assert_eq!(mine(vec![1.0; 6], true).unwrap().len(), 3);
    }

    /// Some thousand rows in groups that are alike.
    fn groups(count: usize, width: usize) -> Rows {
        let mut state = 3u64;
        let mut number = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        let centers: Vec<f32> = (0..40 * width).map(|_| number()).collect();
        let values = (0..count * width).map(|i| centers[i / width % 40 * width + i % width] + 0.7 * number());
        Rows::new(values.collect(), width).unwrap()
    }

    #[test]
    fn steps_threads_and_states_do_not_show() {
        let rows = groups(2500, 33);
        for (max_pairs, min_score) in [(300, None), (100_000, Some(0.6))] {
            let options = MineOptions { top_k: 20, max_pairs, min_score, ..MineOptions::default() };
            let expected = naive(&rows, &options);
            assert!(expected.len() > 250);
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found = pool.install(|| {
                    let mut mining = Mining::new(&rows, &options).unwrap();
                    // Left after every step, and gone on with by somebody else.
                    while mining.step() {
                        let state = mining.state();
                        mining = Mining::new(&rows, &options).unwrap();
                        mining.resume(&state).unwrap();
                    }
                    let (done, all) = mining.progress();
                    assert_eq!((done, all), (all, 2500 * 2501 / 2));
                    mining.pairs()
                });
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn states_of_something_else_are_refused() {
        let (rows, others) = (groups(50, 4), groups(51, 4));
        let options = MineOptions::default();
        let mut mining = Mining::new(&rows, &options).unwrap();
        mining.step();
        let state = mining.state();
        let refused = |rows: &Rows, options: &MineOptions, state: &[u8]| {
            Mining::new(rows, options).unwrap().resume(state).unwrap_err().to_string()
        };
        assert!(refused(&others, &options, &state).contains("other texts"));
        assert!(refused(&rows, &MineOptions { top_k: 3, ..options }, &state).contains("other options"));
        for end in [0, 5, MAGIC.len() + 56, state.len() - 1] {
            assert!(!refused(&rows, &options, &state[..end]).is_empty());
        }
        let mut damaged = state.clone();
        damaged.extend([0; 4]);
        assert!(refused(&rows, &options, &damaged).contains("damaged"));
        for at in MAGIC.len() + 56..state.len() {
            let mut damaged = state.clone();
            damaged[at] = 0xFF;
            // A damaged score cannot be told; nothing may panic.
            let _ = Mining::new(&rows, &options).unwrap().resume(&damaged);
        }
    }
}
