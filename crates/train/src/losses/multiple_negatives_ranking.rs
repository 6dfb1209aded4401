//! temporary
use sentir_vectors::Rows;
use serde_json::{Map, Value};

use super::{Batch, Gradients, Loss};
use crate::Result;

/// temporary
#[derive(Debug, Default)]
pub struct MultipleNegativesRanking {}

impl Loss for MultipleNegativesRanking {
    fn name(&self) -> &'static str {
        "MultipleNegativesRankingLoss"
    }
    fn config(&self) -> Map<String, Value> {
        Map::new()
    }
    fn check(&self, _: usize, _: bool) -> Result<()> {
        Ok(())
    }
    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let n = batch.columns[0].rows();
        let d = batch.columns[0].width();
        let unit = |rows: &Rows| -> (Vec<Vec<f64>>, Vec<f64>) {
            rows.iter()
                .map(|r| {
                    let norm = r.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                    (r.iter().map(|&x| f64::from(x) / norm).collect::<Vec<f64>>(), norm)
                })
                .unzip()
        };
        let (a, an) = unit(&batch.columns[0]);
        let (b, bn) = unit(&batch.columns[1]);
        let mut da = vec![vec![0.0; d]; n];
        let mut db = vec![vec![0.0; d]; n];
        let mut value = 0.0;
        for i in 0..n {
            let s: Vec<f64> =
                b.iter().map(|b| 20.0 * b.iter().zip(&a[i]).map(|(x, y)| x * y).sum::<f64>()).collect();
            let max = s.iter().copied().fold(f64::MIN, f64::max);
            let z: f64 = s.iter().map(|s| (s - max).exp()).sum();
            value += (max + z.ln() - s[i]) / n as f64;
            for j in 0..n {
                let g = ((s[j] - max).exp() / z - f64::from(u8::from(i == j))) * 20.0 / n as f64;
                for k in 0..d {
                    da[i][k] += g * b[j][k];
                    db[j][k] += g * a[i][k];
                }
            }
        }
        let back = |u: &[Vec<f64>], norm: &[f64], g: &[Vec<f64>]| {
            let mut out = Vec::new();
            for i in 0..n {
                let along: f64 = u[i].iter().zip(&g[i]).map(|(x, y)| x * y).sum();
                out.extend((0..d).map(|k| ((g[i][k] - u[i][k] * along) / norm[i]) as f32));
            }
            Rows::new(out, d).unwrap()
        };
        Ok(Gradients { value, columns: vec![back(&a, &an, &da), back(&b, &bn, &db)] })
    }
}
