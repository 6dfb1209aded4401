//! hidden[t] = Σ tables[i][ids_i[t]]: the sum of one row of each table, `[tokens, width]`.
//! For BERT: word + token type + position (transformers, `BertEmbeddings.forward`).

use crate::{Pass, Table, Tensor};

/// A table and which of its rows each token takes.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// `[entries, width]`
    pub table: &'a Table,
    /// One row number per token, each less than `table.rows()`.
    pub ids: &'a [u32],
}

/// The sum of the rows that the lookups name, in the order in which they are given. At least one lookup; all of them with
/// tables of one width and the same number of ids.
pub fn embed(pass: &mut Pass<'_>, lookups: &[Lookup<'_>]) -> Tensor {
    let (tokens, width) = (lookups[0].ids.len(), lookups[0].table.width());
    for lookup in lookups {
        assert_eq!((lookup.ids.len(), lookup.table.width()), (tokens, width), "lookups of different shapes");
    }
    let mut out = pass.tensor(tokens, width);
    pass.backend().embed(lookups, &mut out);
    out
}

/// Row by row, table by table.
pub(crate) fn naive(lookups: &[Lookup<'_>], out: &mut [f64]) {
    let width = lookups[0].table.width();
    for (token, row) in out.chunks_exact_mut(width).enumerate() {
        row.fill(0.0);
        for lookup in lookups {
            lookup.table.for_each(lookup.ids[token], |j, value| row[j] += f64::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use half::{bf16, f16};

    use super::*;
    use crate::TableType;
    use crate::ops::testing::{assert_close, backends, random};

    /// The same values in each type; they are multiples of 1/8 below 32, which all three hold exactly.
    fn tables(rows: usize, width: usize) -> (Vec<f32>, [Table; 3]) {
        let values: Vec<f32> = random(rows * width, 3).iter().map(|x| (x * 64.0).round() / 8.0).collect();
        let table = |kind, bytes: Vec<u8>| Table::new(rows, width, kind, Arc::new(bytes)).unwrap();
        let tables = [
            table(TableType::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            table(TableType::F16, values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect()),
            table(TableType::Bf16, values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect()),
        ];
        (values, tables)
    }

    #[test]
    fn every_backend_sums_rows_of_every_type() {
        let (width, ids, positions) = (13, [4, 0, 4, 6, 1], [0, 1, 2, 3, 4]);
        let (words, word_tables) = tables(7, width);
        let (places, place_tables) = tables(5, width);
        for backend in backends() {
            for (word_table, place_table) in word_tables.iter().zip(&place_tables) {
                let mut pass = Pass::inference(backend);
                let lookups =
                    [Lookup { table: word_table, ids: &ids }, Lookup { table: place_table, ids: &positions }];
                let out = embed(&mut pass, &lookups);
                let expected: Vec<f64> = (0..5 * width)
                    .map(|i| {
                        let (token, j) = (i / width, i % width);
                        f64::from(words[ids[token] as usize * width + j] + places[token * width + j])
                    })
                    .collect();
                assert_close(&backend.download(&out), &expected, 0.0, backend.name());
            }
        }
    }

    #[test]
    fn a_table_of_the_wrong_size_is_refused() {
        let bytes = || Arc::new(vec![0u8; 24]);
        assert!(Table::new(2, 3, TableType::F32, bytes()).is_some());
        assert!(Table::new(2, 3, TableType::F16, bytes()).is_none());
        assert!(Table::new(3, 3, TableType::F32, bytes()).is_none());
        assert!(Table::new(usize::MAX, 3, TableType::F32, bytes()).is_none());
        assert!(Table::new(2, 0, TableType::F32, bytes()).is_none());
    }
}
