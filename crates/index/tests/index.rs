//! An index against a plain list of what should be in it.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use sentir_index::{Changed, Entry, Index, Settings, Store};
use sentir_vectors::compress::Precision;
use sentir_vectors::top_k::{SearchOptions, search};
use sentir_vectors::{Rows, Similarity};

const WIDTH: usize = 5;

fn entry(id: &str) -> Entry {
    let mut fields = Map::new();
    fields.insert("text".to_owned(), json!(format!("text of {id}, « \u{1f600} »")));
    Entry { id: id.to_owned(), fields }
}

fn vector(seed: usize) -> Vec<f32> {
    (0..WIDTH).map(|at| ((seed * 31 + at * 17 + seed * at) % 23) as f32 - 11.0).collect()
}

fn rows(vectors: &[Vec<f32>]) -> Rows {
    Rows::new(vectors.concat(), WIDTH).unwrap()
}

/// What a search over the plain list finds.
fn expected(
    list: &[(String, Vec<f32>)],
    query: &Rows,
    similarity: Similarity,
    top_k: usize,
) -> Vec<(String, f32)> {
    let mut corpus = rows(&list.iter().map(|(_, vector)| vector.clone()).collect::<Vec<_>>());
    let (mut query, mut similarity) = (query.clone(), similarity);
    if similarity == Similarity::Cosine {
        corpus.normalize();
        query.normalize();
        similarity = Similarity::Dot;
    }
    let hits = search(&query, &corpus, &SearchOptions { similarity, top_k }).unwrap();
    hits[0].iter().map(|hit| (list[hit.index].0.clone(), hit.score)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is added, replaced and deleted in whatever order, by this process or the next.
    #[test]
    fn holds_what_was_put_in_and_not_taken_out(
        first in 0usize..30,
        changes in prop::collection::vec((any::<bool>(), prop::collection::vec(0usize..40, 0..12), any::<bool>()), 0..8),
        similarity in prop::sample::select(Similarity::ALL.to_vec()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let mut list: Vec<(String, Vec<f32>)> = (0..first).map(|i| (format!("id {i}"), vector(i))).collect();
        let entries: Vec<Entry> = list.iter().map(|(id, _)| entry(id)).collect();
        let vectors: Vec<Vec<f32>> = list.iter().map(|(_, vector)| vector.clone()).collect();
        let settings = Settings { similarity, ..Settings::default() };
        let mut index = Index::create(&path, settings, &entries, rows(&vectors)).unwrap();
        for (at, (upsert, mut ids, reopen)) in changes.into_iter().enumerate() {
            ids.sort_unstable();
            ids.dedup();
            let names: Vec<String> = ids.iter().map(|id| format!("id {id}")).collect();
            let there = names.iter().filter(|name| list.iter().any(|(id, _)| id == *name)).count();
            list.retain(|(id, _)| !names.contains(id));
            if upsert {
                let new: Vec<Vec<f32>> = ids.iter().map(|id| vector(id + 100 * at + 7)).collect();
                let entries: Vec<Entry> = names.iter().map(|name| entry(name)).collect();
                let changed = index.upsert(&entries, rows(&new)).unwrap();
                prop_assert_eq!(changed, Changed { added: names.len() - there, replaced: there });
                list.extend(names.into_iter().zip(new));
            } else {
                prop_assert_eq!(index.delete(&names).unwrap().len(), names.len() - there);
            }
            if reopen {
                index = Index::open(&path).unwrap();
            }
            prop_assert_eq!(index.len(), list.len());
            prop_assert_eq!(index.ids().unwrap(), list.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
            let query = rows(&[vector(1000 + at)]);
            let found = index.search(&query, 6).unwrap();
            let got: Vec<(String, f32)> = found[0].iter().map(|hit| (hit.id.clone(), hit.score)).collect();
            prop_assert_eq!(got, expected(&list, &query, similarity, 6));
            prop_assert!(found[0].iter().all(|hit| hit.entry == entry(&hit.id).fields));
        }
        // Nothing is left behind: a segment for each in the list, and the three other files at most.
        let files = std::fs::read_dir(&path).unwrap().count();
        prop_assert!(files <= index.manifest().segments.len() + 2);
    }
}

fn small(path: &Path, precision: Precision, keep_full: bool) -> Index {
    let ids: Vec<Entry> = (0..200).map(|i| entry(&i.to_string())).collect();
    let vectors: Vec<Vec<f32>> = (0..200).map(vector).collect();
    let settings = Settings { precision, keep_full, ..Settings::default() };
    Index::create(path, settings, &ids, rows(&vectors)).unwrap()
}

#[test]
fn compressed_vectors_are_found_by_themselves_and_settled_by_the_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let exact = small(&folder.path().join("exact"), Precision::Float32, false);
    let queries = rows(&(0..20).map(|i| vector(500 + i)).collect::<Vec<_>>());
    let best = exact.search(&queries, 3).unwrap();
    for (precision, keep_full, least) in [
        (Precision::Int8, true, 60),
        (Precision::Int8, false, 45),
        // Five bits tell little.
        (Precision::Ubinary, true, 8),
    ] {
        let name = format!("{precision}-{keep_full}");
        let mut index = small(&folder.path().join(&name), precision, keep_full);
        let found = index.search(&queries, 3).unwrap();
        let same = |(a, b): (&Vec<sentir_index::Found>, &Vec<sentir_index::Found>)| {
            a.iter().filter(|hit| b.iter().any(|other| other.id == hit.id)).count()
        };
        let common: usize = best.iter().zip(&found).map(same).sum();
        assert!(common >= least, "{name}: {common} of 60");
        // A deleted row is not found, nor does it take a place.
        let gone = found[0][0].id.clone();
        assert!(index.delete(std::slice::from_ref(&gone)).unwrap().is_empty());
        let found = index.search(&queries, 3).unwrap();
        assert!(found[0].iter().all(|hit| hit.id != gone) && found[0].len() == 3);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let mut index = small(&path, Precision::Float32, false);
    let one = || rows(&[vector(1)]);
    let said = |result: sentir_index::Result<Changed>| result.unwrap_err().to_string();
    assert!(
        said(index.upsert(&[entry("a"), entry("a")], rows(&[vector(1), vector(2)])))
            .contains("comes twice, in rows 1 and 2")
    );
    assert!(said(index.upsert(&[], one())).contains("0 entries for 1 vectors"));
    let wide = Rows::new(vec![1.0; 7], 7).unwrap();
    assert!(said(index.upsert(&[entry("a")], wide.clone())).contains("7 dimensions"));
    let nan = Rows::new(vec![f32::NAN; WIDTH], WIDTH).unwrap();
    assert!(said(index.upsert(&[entry("a")], nan)).contains("\"a\" holds NaN"));
    assert!(
        index.search(&wide, 3).unwrap_err().to_string().contains("the model that the index was built with")
    );
    assert_eq!(index.len(), 200);

    let again = Index::create(&path, Settings::default(), &[], Rows::empty(2)).unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");
    let nothing = Index::open(&folder.path().join("nothing")).unwrap_err().to_string();
    assert!(nothing.contains("sentir index build"), "{nothing}");
    let settings =
        Settings { precision: Precision::Int8, similarity: Similarity::Euclidean, ..Settings::default() };
    assert!(Index::create(&folder.path().join("b"), settings, &[], Rows::empty(2)).is_err());
    let settings = Settings { precision: Precision::Binary, ..Settings::default() };
    assert!(Index::create(&folder.path().join("b"), settings, &[], Rows::empty(2)).is_err());

    // Two at once.
    let lock = std::fs::File::options().write(true).open(path.join("lock"));
    let lock = lock.or_else(|_| std::fs::File::create(path.join("lock"))).unwrap();
    lock.lock().unwrap();
    assert!(said(index.upsert(&[entry("a")], one())).contains("another process"));
    drop(lock);
    assert_eq!(index.upsert(&[entry("a")], one()).unwrap().added, 1);
}

#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let index = small(&path, Precision::Float32, false);
    drop(index);
    let manifest = std::fs::read_to_string(path.join("index.json")).unwrap();
    let value: Value = serde_json::from_str(&manifest).unwrap();
    for (key, wrong) in [
        ("format_version", json!(2)),
        ("dimensions", json!(0)),
        ("dimensions", json!(6)),
        ("similarity", json!("near")),
        ("precision", json!("int8")),
        ("full", json!(false)),
        ("ranges", json!([[0.0], [1.0]])),
        ("segments", json!([{"number": 1, "rows": 201, "removed": []}])),
        ("segments", json!([{"number": 1, "rows": 200, "removed": [3, 2]}])),
        ("segments", json!([{"number": 1, "rows": 200, "removed": [200]}])),
        ("segments", json!([{"number": 7, "rows": 200, "removed": []}])),
        ("segments", json!([{"number": -1, "rows": 200, "removed": []}])),
        ("other", json!(1)),
    ] {
        let mut changed = value.clone();
        changed[key] = wrong;
        std::fs::write(path.join("index.json"), changed.to_string()).unwrap();
        let error = Index::open(&path).unwrap_err().to_string();
        assert!(error.contains("index.json") || error.contains("segment-"), "{key}: {error}");
    }
    std::fs::write(path.join("index.json"), &manifest).unwrap();
    let segment = path.join("segment-1.safetensors");
    let whole = std::fs::read(&segment).unwrap();
    for end in [0, 7, 100, whole.len() - 1] {
        std::fs::write(&segment, &whole[..end]).unwrap();
        assert!(Index::open(&path).is_err());
    }
    // Any byte, anywhere: an error or another text, no panic.
    for at in (0..whole.len()).step_by(41) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&segment, &damaged).unwrap();
        if let Ok(index) = Index::open(&path) {
            let _ = (index.search(&rows(&[vector(3)]), 200), index.ids(), index.export());
        }
    }
}

#[test]
fn a_change_that_was_killed_leaves_the_old_state_and_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let mut index = small(&path, Precision::Float32, false);
    // A segment that was written, and one that was being written, before index.json was replaced.
    std::fs::copy(path.join("segment-1.safetensors"), path.join("segment-2.safetensors")).unwrap();
    std::fs::write(path.join(".sentir-segment-3.safetensors"), b"half").unwrap();
    assert_eq!(Index::open(&path).unwrap().len(), 200);
    index.upsert(&[entry("new")], rows(&[vector(9)])).unwrap();
    let index = Index::open(&path).unwrap();
    assert_eq!(index.len(), 201);
    let mut names: Vec<String> = std::fs::read_dir(&path)
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["index.json", "lock", "segment-1.safetensors", "segment-2.safetensors"]);
    assert_eq!(index.export().unwrap().0[200], entry("new"));
}
