//! `sentir cluster`: groups of texts that are alike, with the words that tell them apart. The page, `cluster/map.rs`.

mod map;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use sentir::cluster::community::{CommunityOptions, community_detection};
use sentir::cluster::density::{DensityOptions, hdbscan};
use sentir::cluster::keywords::keywords;
use sentir::cluster::kmeans::{KMeansOptions, kmeans};
use sentir::cluster::linkage::{Linkage, Until, agglomerative};
use sentir::cluster::plane::principal_components;
use sentir::cluster::t_sne::{TsneOptions, t_sne};
use sentir::cluster::{by_size, representatives};
use sentir::metrics::clustering::{Agreement, agreement};
use sentir::{Rows, VectorsError};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Global, InputArguments, ModelArguments, PromptArguments, at_least_one};
use crate::interrupt::{self, Interrupted};
use crate::model::{self, Encoding};
use crate::terminal::{self, Progress, grouped, line, notice};

/// How groups are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// So many groups, every text in one of them; for any number of texts
    Kmeans,
    /// The nearest groups are joined, until --n-clusters or --distance-threshold; up to 20,000 texts
    Agglomerative,
    /// Texts around one of them, at least --threshold alike; others are in none
    Community,
    /// Where texts lie densely; others are in none; up to 20,000 texts
    Hdbscan,
}

/// How texts become points of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Projection {
    /// Neighbors stay neighbors (t-SNE); distances between far groups say little
    Tsne,
    /// The two directions in which vectors differ most (principal components); at once, for any number of texts
    Pca,
}

/// More texts than this take t-SNE minutes.
const MOST_PLACED: usize = 20_000;

/// Group texts that are alike
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    input: InputArguments,
    /// How groups are found [default: kmeans with --n-clusters, else community]
    #[arg(long, value_name = "NAME", value_enum, help_heading = "Algorithm")]
    algorithm: Option<Algorithm>,
    /// Groups of kmeans and agglomerative
    #[arg(long, value_name = "N", value_parser = at_least_one(), help_heading = "Algorithm")]
    n_clusters: Option<usize>,
    /// The seed of kmeans
    #[arg(long, value_name = "N", default_value = "42", help_heading = "Algorithm")]
    random_state: u64,
    /// Agglomerative: join groups up to this far apart, by the distance of unit vectors, from 0 (the same) to 2
    #[arg(long, value_name = "X", conflicts_with = "n_clusters", help_heading = "Algorithm")]
    distance_threshold: Option<f32>,
    /// Agglomerative: average, complete, single or ward
    #[arg(long, value_name = "NAME", default_value = "average", help_heading = "Algorithm")]
    linkage: Linkage,
    /// Community: the least cosine to the center
    #[arg(
        long,
        value_name = "X",
        default_value = "0.75",
        allow_negative_numbers = true,
        help_heading = "Algorithm"
    )]
    threshold: f32,
    /// Community: the fewest texts
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one(), help_heading = "Algorithm")]
    min_community_size: usize,
    /// HDBSCAN: the fewest texts
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one(), help_heading = "Algorithm")]
    min_cluster_size: usize,
    /// HDBSCAN: how many texts must be near for a place to be dense [default: --min-cluster-size]
    #[arg(long, value_name = "N", value_parser = at_least_one(), help_heading = "Algorithm")]
    min_samples: Option<usize>,
    /// A column of true groups to compare with: homogeneity, completeness, V-measure
    #[arg(long, value_name = "NAME")]
    labels: Option<String>,
    /// Texts to show for each group
    #[arg(long, value_name = "N", default_value = "3")]
    show: usize,
    /// Write the group of each text to this file, a JSON object a line: {"index": 0, "cluster": 3, "text": "…"}; -1 is none
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a page with a map of the texts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How the map of --html is laid out [default: tsne up to 20,000 texts, else pca]
    #[arg(long, value_name = "NAME", value_enum, requires = "html")]
    projection: Option<Projection>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir cluster --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --n-clusters 8 --html map.html
  sentir cluster --model models/all-MiniLM-L6-v2 --input texts.txt \\
      --threshold 0.7 --min-community-size 5 --output groups.jsonl

Groups are numbered by size, the largest 0.";

/// A group, for people and scripts.
#[derive(Serialize)]
struct Group<'a> {
    cluster: i64,
    size: usize,
    keywords: Vec<String>,
    /// Rows and texts that stand for it.
    texts: Vec<(usize, &'a str)>,
}

/// Words that are named for each group.
const WORDS: usize = 6;

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let algorithm =
        arguments.algorithm.unwrap_or(match (arguments.n_clusters, arguments.distance_threshold) {
            (_, Some(_)) => Algorithm::Agglomerative,
            (Some(_), _) => Algorithm::Kmeans,
            (None, None) => Algorithm::Community,
        });
    if algorithm == Algorithm::Kmeans && arguments.n_clusters.is_none() {
        bail!("kmeans needs to know how many groups: give --n-clusters");
    }
    let until = match (arguments.n_clusters, arguments.distance_threshold) {
        (_, Some(distance)) => Until::Distance(distance),
        (Some(clusters), None) => Until::Clusters(clusters),
        (None, None) if algorithm == Algorithm::Agglomerative => {
            bail!("agglomerative needs an end: give --n-clusters or --distance-threshold")
        }
        (None, None) => Until::Clusters(1),
    };
    let shown: Vec<String> = arguments.labels.iter().cloned().collect();
    let texts = arguments.input.read(&shown)?;
    if texts.texts.len() < 2 {
        bail!("{}: one text has no group; give two or more", arguments.input.input.display());
    }
    let model = model::load(&arguments.model, global)?;
    let encoding =
        Encoding { normalize: true, ..Encoding::new(&arguments.model, &arguments.prompt, global.quiet) };
    let vectors = encoding.sentences(&model, &texts)?.embeddings;
    let labels = labels(arguments, algorithm, until, &vectors, global.quiet)?;
    let words = keywords(&texts.texts, &labels, WORDS);
    let typical = representatives(&vectors, &labels, arguments.show);
    let mut sizes = vec![0; words.len()];
    labels.iter().filter(|label| **label >= 0).for_each(|&label| sizes[label as usize] += 1);
    let groups: Vec<Group<'_>> = (0..)
        .zip(words)
        .zip(sizes)
        .zip(typical)
        .map(|(((cluster, words), size), rows)| Group {
            cluster,
            size,
            keywords: words.into_iter().map(|(word, _)| word).collect(),
            texts: rows.into_iter().map(|row| (row, texts.texts[row].as_str())).collect(),
        })
        .collect();
    let none = labels.iter().filter(|label| **label < 0).count();
    if groups.is_empty() {
        notice(
            global.quiet,
            "no groups: try a lower --threshold, a smaller least size, or kmeans with --n-clusters",
        );
    }
    let truth = match texts.shown.first() {
        Some(names) => Some(compare(names, &labels)?),
        None => None,
    };
    if let Some(path) = &arguments.output {
        let lines = labels.iter().zip(&texts.texts).enumerate().map(|(row, (label, text))| {
            json!({"index": row, "cluster": label, "text": text}).to_string() + "\n"
        });
        sentir::train::record::write_text(path, &lines.collect::<String>())?;
    }
    if let Some(path) = &arguments.html {
        let heads: Vec<(usize, String)> =
            groups.iter().map(|group| (group.size, group.keywords.join(", "))).collect();
        let (points, how) = places(arguments.projection, &vectors, global.quiet)?;
        sentir::train::record::write_text(path, &map::page(&points, how, &texts.texts, &labels, &heads)?)?;
    }
    let summary = json!({
        "texts": labels.len(), "clusters": groups, "in_none": none,
        "homogeneity": truth.map(|own| own.homogeneity), "completeness": truth.map(|own| own.completeness),
        "v_measure": truth.map(|own| own.v_measure),
    });
    terminal::answer(arguments.json, &summary, |out| write(out, &groups, labels.len(), none, truth))?;
    if !global.quiet {
        for path in arguments.output.iter().chain(&arguments.html) {
            terminal::say(format_args!("wrote {}", path.display()));
        }
    }
    Ok(())
}

/// A point for each text, and how it was found.
fn places(wanted: Option<Projection>, vectors: &Rows, quiet: bool) -> Result<(Rows, &'static str)> {
    let most = if vectors.rows() > MOST_PLACED { Projection::Pca } else { Projection::Tsne };
    if wanted.is_none() && most == Projection::Pca {
        notice(
            quiet,
            format_args!(
                "the map shows principal components: more than {} texts take t-SNE minutes; --projection tsne",
                grouped(MOST_PLACED)
            ),
        );
    }
    Ok(match wanted.unwrap_or(most) {
        Projection::Tsne => {
            let bar = Progress::new(quiet, "placing", "steps");
            let points =
                t_sne(vectors, &TsneOptions::default(), |done, all| bar.set(done as u64, all as u64))?;
            (points, "neighbors stay neighbors (t-SNE), but how far groups are from each other says little")
        }
        Projection::Pca => {
            (principal_components(vectors)?, "the two directions in which the vectors differ most")
        }
    })
}

/// The group of each text.
fn labels(
    arguments: &Arguments,
    algorithm: Algorithm,
    until: Until,
    vectors: &Rows,
    quiet: bool,
) -> Result<Vec<i64>> {
    let bar =
        Progress::new(quiet, "grouping", if algorithm == Algorithm::Kmeans { "steps" } else { "texts" });
    let _polling = interrupt::polling();
    let found = match algorithm {
        Algorithm::Kmeans => {
            let n_clusters = arguments.n_clusters.unwrap_or(1);
            let options =
                KMeansOptions { n_clusters, seed: arguments.random_state, ..KMeansOptions::default() };
            let go_on = &mut |step: usize| {
                bar.set(step as u64, options.max_iter as u64);
                interrupt::check().is_ok()
            };
            kmeans(vectors, &options, go_on)
                .map(|found| by_size(&found.labels.iter().map(|&label| label as i64).collect::<Vec<_>>()))
        }
        Algorithm::Agglomerative => agglomerative(vectors, arguments.linkage, until),
        Algorithm::Community => {
            let options = CommunityOptions {
                threshold: arguments.threshold,
                min_community_size: arguments.min_community_size,
            };
            let go_on = &mut |done: usize, all: usize| {
                bar.set(done as u64, all as u64);
                interrupt::check().is_ok()
            };
            community_detection(vectors, &options, go_on).map(|communities| {
                let mut labels = vec![-1; vectors.rows()];
                for (name, community) in (0..).zip(communities) {
                    community.into_iter().for_each(|row| labels[row] = name);
                }
                labels
            })
        }
        Algorithm::Hdbscan => {
            let options = DensityOptions {
                min_cluster_size: arguments.min_cluster_size,
                min_samples: arguments.min_samples,
            };
            hdbscan(vectors, &options)
        }
    };
    interrupt::check()?;
    match found {
        Err(VectorsError::Interrupted) => Err(Interrupted::BEFORE_WRITING.into()),
        other => Ok(other?),
    }
}

/// How well groups and true ones agree. Each text of no group is one by itself.
fn compare(names: &[String], labels: &[i64]) -> Result<Agreement> {
    let mut known = BTreeMap::new();
    let classes: Vec<usize> = names
        .iter()
        .map(|name| {
            let next = known.len();
            *known.entry(name).or_insert(next)
        })
        .collect();
    let clusters = labels.iter().enumerate().map(|(row, &label)| match usize::try_from(label) {
        Ok(label) => label,
        Err(_) => labels.len() + row,
    });
    Ok(agreement(&classes, &clusters.collect::<Vec<_>>())?)
}

fn write(
    out: &mut dyn Write,
    groups: &[Group<'_>],
    texts: usize,
    none: usize,
    truth: Option<Agreement>,
) -> io::Result<()> {
    const LETTERS: usize = 100;
    writeln!(out, "{} texts in {} groups, {} in none", grouped(texts), grouped(groups.len()), grouped(none))?;
    if let Some(Agreement { homogeneity, completeness, v_measure }) = truth {
        writeln!(
            out,
            "homogeneity {homogeneity:.4}, completeness {completeness:.4}, V-measure {v_measure:.4}"
        )?;
    }
    for group in groups {
        writeln!(out, "\n{}: {} texts: {}", group.cluster, grouped(group.size), group.keywords.join(", "))?;
        for (row, text) in &group.texts {
            writeln!(out, "  {row:>6}  {}", line(text, LETTERS))?;
        }
    }
    Ok(())
}
