//! Sentences of token ids, put one after another without padding, and the division of many into batches.

use std::ops::Range;

use crate::shape::Counting;

/// A batch: the ids of all its sentences one after another, and where each begins. Padding does not exist after it.
#[derive(Debug, Default)]
pub(crate) struct PackedBatch {
    /// `[tokens]`
    pub ids: Vec<u32>,
    /// `[tokens]`: row of the position table.
    pub positions: Vec<u32>,
    /// `[sentences + 1]`
    pub offsets: Vec<usize>,
    /// `[sentences]`: how many of the first tokens pooling leaves out.
    pub skip: Vec<usize>,
}

impl PackedBatch {
    /// Packs sentences: tokens, and how many of the first of them are not to be pooled.
    pub(crate) fn new<'a>(sentences: impl Iterator<Item = (&'a [u32], usize)>, counting: Counting) -> Self {
        let mut batch = Self { offsets: vec![0], ..Self::default() };
        for (ids, skip) in sentences {
            counting.extend(&mut batch.positions, ids);
            batch.ids.extend_from_slice(ids);
            batch.offsets.push(batch.ids.len());
            batch.skip.push(skip.min(ids.len()));
        }
        batch
    }
}

/// Which sentences go together: all of them ordered by length, longest first (so that what does not fit into memory fails
/// early and the estimate of the remaining time is not too short), cut where the next sentence would exceed the budget.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Sentences in the order in which they are computed.
    pub order: Vec<usize>,
    /// Ranges of `order`.
    pub batches: Vec<Range<usize>>,
}

impl Plan {
    /// A plan for sentences of the given lengths. A sentence above the budget gets a batch of its own.
    pub(crate) fn new(lengths: &[usize], budget: usize) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
        let (mut batches, mut start, mut tokens) = (Vec::new(), 0, 0usize);
        for (at, &sentence) in order.iter().enumerate() {
            if at > start && tokens.saturating_add(lengths[sentence]) > budget {
                batches.push(start..at);
                (start, tokens) = (at, 0);
            }
            tokens += lengths[sentence];
        }
        if start < order.len() {
            batches.push(start..order.len());
        }
        Self { order, batches }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packing_keeps_every_token() {
        let sentences: [(&[u32], usize); 3] = [(&[5, 6, 7], 2), (&[], 2), (&[8], 2)];
        let batch = PackedBatch::new(sentences.into_iter(), Counting::FromZero);
        assert_eq!(batch.ids, [5, 6, 7, 8]);
        assert_eq!(batch.positions, [0, 1, 2, 0]);
        assert_eq!(batch.offsets, [0, 3, 3, 4]);
        assert_eq!(batch.skip, [2, 0, 1]);
    }

    proptest! {
        #[test]
        fn every_sentence_is_in_one_batch_and_no_batch_above_the_budget(
            lengths in prop::collection::vec(0usize..40, 0..80),
            budget in 1usize..100,
        ) {
            let plan = Plan::new(&lengths, budget);
            let mut seen = plan.order.clone();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            let mut next = 0;
            for batch in &plan.batches {
                prop_assert_eq!(batch.start, next);
                prop_assert!(!batch.is_empty());
                next = batch.end;
                let tokens: usize = plan.order[batch.clone()].iter().map(|&i| lengths[i]).sum();
                prop_assert!(tokens <= budget || batch.len() == 1);
            }
            prop_assert_eq!(next, lengths.len());
        }
    }
}
