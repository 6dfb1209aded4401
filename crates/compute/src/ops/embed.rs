//! hidden[t] = Σ tables[i][ids_i[t]]: the sum of one row of each table, `[tokens, width]`.
//! For BERT: word + token type + position (transformers, `BertEmbeddings.forward`).
//!
//! ∂tables[i][r] = Σ over tokens t with ids_i[t] = r of ∂hidden[t]; rows that no token takes have no gradient.

use crate::tape::{Backward, Step};
use crate::{Pass, Table, Tensor};

/// A table and which of its rows each token takes.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a, 'ids> {
    /// `[entries, width]`
    pub table: &'a Table,
    /// One row number per token, each less than `table.rows()`.
    pub ids: &'ids [u32],
}

/// The sum of the rows that the lookups name, in the order in which they are given. At least one lookup; all of them with
/// tables of one width and the same number of ids.
pub fn embed<'a>(pass: &mut Pass<'a>, lookups: &[Lookup<'a, '_>]) -> Tensor {
    let (tokens, width) = (lookups[0].ids.len(), lookups[0].table.width());
    for lookup in lookups {
        assert_eq!((lookup.ids.len(), lookup.table.width()), (tokens, width), "lookups of different shapes");
    }
    let mut out = pass.tensor(tokens, width);
    pass.backend().embed(lookups, &mut out);
    if pass.records() {
        let trained = lookups.iter().filter(|lookup| lookup.table.parameter.is_some());
        let trained: Vec<_> = trained.map(|lookup| (lookup.table, lookup.ids.to_vec())).collect();
        pass.record(&mut out, !trained.is_empty(), || Box::new(EmbedStep { trained }));
    }
    out
}

struct EmbedStep<'a> {
    /// The tables that are trained, and their ids.
    trained: Vec<(&'a Table, Vec<u32>)>,
}

impl<'a> Step<'a> for EmbedStep<'a> {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, d: Tensor) {
        let backend = walk.pass.backend();
        for (table, ids) in &self.trained {
            let id = table.parameter.expect("only trained tables");
            let (sums, places) = walk.gradients.rows(id, backend, ids, table.width());
            backend.scatter_add(&d, &places, sums);
        }
        walk.pass.free(d);
    }
}

/// Row by row, table by table.
pub(crate) fn naive(lookups: &[Lookup<'_, '_>], out: &mut [f64]) {
    let width = lookups[0].table.width();
    for (token, row) in out.chunks_exact_mut(width).enumerate() {
        row.fill(0.0);
        for lookup in lookups {
            lookup.table.for_each(lookup.ids[token], |j, value| row[j] += f64::from(value));
        }
    }
}

/// `sums[places[t]] += d[t]` for every row t, in order.
pub(crate) fn naive_scatter_add(d: &[f64], width: usize, places: &[usize], sums: &mut [f64]) {
    for (d, &place) in d.chunks_exact(width).zip(places) {
        super::naive_add(&mut sums[place * width..][..width], d);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use half::{bf16, f16};

    use super::*;
    use crate::TableType;
    use crate::gradients::ParameterMut;
    use crate::ops::testing::{Network, assert_close, backends, check_gradients, random};

    /// The same values in each type; they are multiples of 1/8 below 32, which all three hold exactly.
    fn tables(rows: usize, width: usize) -> (Vec<f32>, [Table; 3]) {
        let values: Vec<f32> = random(rows * width, 3).iter().map(|x| (x * 64.0).round() / 8.0).collect();
        let table =
            |kind, bytes: Vec<u8>| Table::new(rows, width, kind, Arc::new(bytes), Vec::new()).unwrap();
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
        assert!(Table::new(2, 3, TableType::F32, bytes(), Vec::new()).is_some());
        assert!(Table::new(2, 3, TableType::F16, bytes(), Vec::new()).is_none());
        assert!(Table::new(3, 3, TableType::F32, bytes(), Vec::new()).is_none());
        assert!(Table::new(usize::MAX, 3, TableType::F32, bytes(), Vec::new()).is_none());
        assert!(Table::new(2, 0, TableType::F32, bytes(), Vec::new()).is_none());
        assert!(Table::new(2, 3, TableType::F32, bytes(), vec![1.0; 2]).is_none());
        assert!(Table::new(2, 12, TableType::Int8, bytes(), vec![1.0; 3]).is_none());
        assert!(Table::new(2, 12, TableType::Int8, bytes(), vec![1.0; 2]).is_some());
    }

    #[test]
    fn a_row_of_int8_is_its_bytes_times_its_scale() {
        let bytes: Vec<u8> = [-127i8, 0, 5, 127, -3, 1].map(i8::cast_unsigned).into();
        let table = Table::new(2, 3, TableType::Int8, Arc::new(bytes), vec![0.5, 0.25]).unwrap();
        for backend in backends() {
            let mut pass = Pass::inference(backend);
            let out = embed(&mut pass, &[Lookup { table: &table, ids: &[1, 0, 1] }]);
            let expected = [31.75, -0.75, 0.25, -63.5, 0.0, 2.5, 31.75, -0.75, 0.25];
            assert_close(&backend.download(&out), &expected, 0.0, backend.name());
        }
    }

    struct Tables(Table, Table);

    impl Network for Tables {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, _: Vec<Tensor>) -> Tensor {
            let first = Lookup { table: &self.0, ids: &[4, 0, 4, 4, 1] };
            embed(pass, &[first, Lookup { table: &self.1, ids: &[0, 1, 0, 1, 2] }])
        }

        fn parameters(&mut self) -> Vec<ParameterMut<'_>> {
            vec![ParameterMut::Table(&mut self.0), ParameterMut::Table(&mut self.1)]
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(&[], &[(5, 3), (3, 3)], |_, values| {
            let table = |i: usize| Table::trainable(values[i].clone(), 3).unwrap();
            Tables(table(0), table(1))
        });
    }
}
