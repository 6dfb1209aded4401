//! Who is to be cited for a loss: the facts of the BibTeX entries that sentence-transformers gives.

/// Title, authors, year and where, as BibTeX.
struct Work {
    key: &'static str,
    kind: &'static str,
    fields: &'static [(&'static str, &'static str)],
}

const REIMERS: Work = Work {
    key: "reimers-2019-sentence-bert",
    kind: "inproceedings",
    fields: &[
        ("title", "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks"),
        ("author", "Reimers, Nils and Gurevych, Iryna"),
        (
            "booktitle",
            "Proceedings of the 2019 Conference on Empirical Methods in Natural Language Processing",
        ),
        ("month", "11"),
        ("year", "2019"),
        ("publisher", "Association for Computational Linguistics"),
        ("url", "https://arxiv.org/abs/1908.10084"),
    ],
};

macro_rules! arxiv {
    ($key:literal, $title:literal, $author:literal, $year:literal, $number:literal, $class:literal) => {
        Work {
            key: $key,
            kind: "misc",
            fields: &[
                ("title", $title),
                ("author", $author),
                ("year", $year),
                ("eprint", $number),
                ("archivePrefix", "arXiv"),
                ("primaryClass", $class),
            ],
        }
    };
}

const HENDERSON: Work = arxiv!(
    "henderson2017efficient",
    "Efficient Natural Language Response Suggestion for Smart Reply",
    "Matthew Henderson and Rami Al-Rfou and Brian Strope and Yun-hsuan Sung and Laszlo Lukacs and Ruiqi Guo and Sanjiv Kumar and Balint Miklos and Ray Kurzweil",
    "2017",
    "1705.00652",
    "cs.CL"
);
const OORD: Work = arxiv!(
    "oord2019representationlearningcontrastivepredictive",
    "Representation Learning with Contrastive Predictive Coding",
    "Aaron van den Oord and Yazhe Li and Oriol Vinyals",
    "2019",
    "1807.03748",
    "cs.LG"
);
const GAO: Work = arxiv!(
    "gao2021scaling",
    "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
    "Luyu Gao and Yunyi Zhang and Jiawei Han and Jamie Callan",
    "2021",
    "2101.06983",
    "cs.LG"
);
const KUSUPATI: Work = arxiv!(
    "kusupati2024matryoshka",
    "Matryoshka Representation Learning",
    "Aditya Kusupati and Gantavya Bhatt and Aniket Rege and Matthew Wallingford and Aditya Sinha and Vivek Ramanujan and William Howard-Snyder and Kaifeng Chen and Sham Kakade and Prateek Jain and Ali Farhadi",
    "2024",
    "2205.13147",
    "cs.LG"
);
const LI: Work = arxiv!(
    "li2023angleoptimized",
    "AnglE-optimized Text Embeddings",
    "Xianming Li and Jing Li",
    "2023",
    "2309.12871",
    "cs.CL"
);
const HERMANS: Work = arxiv!(
    "hermans2017defense",
    "In Defense of the Triplet Loss for Person Re-Identification",
    "Alexander Hermans and Lucas Beyer and Bastian Leibe",
    "2017",
    "1703.07737",
    "cs.CV"
);
const SOLATORIO: Work = arxiv!(
    "solatorio2024gistembed",
    "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning",
    "Aivin V. Solatorio",
    "2024",
    "2402.16829",
    "cs.LG"
);
const HOFSTAETTER: Work = arxiv!(
    "hofstätter2021improving",
    "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
    "Sebastian Hofstätter and Sophia Althammer and Michael Schröder and Mete Sertkan and Allan Hanbury",
    "2021",
    "2010.02666",
    "cs.IR"
);
const REIMERS_2020: Work = Work {
    key: "reimers-2020-multilingual-sentence-bert",
    kind: "inproceedings",
    fields: &[
        ("title", "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation"),
        ("author", "Reimers, Nils and Gurevych, Iryna"),
        (
            "booktitle",
            "Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing",
        ),
        ("month", "11"),
        ("year", "2020"),
        ("publisher", "Association for Computational Linguistics"),
        ("url", "https://arxiv.org/abs/2004.09813"),
    ],
};
const SU: Work = Work {
    key: "kexuefm-8847",
    kind: "online",
    fields: &[
        ("title", "CoSENT: A more efficient sentence vector scheme than Sentence-BERT"),
        ("author", "Su Jianlin"),
        ("year", "2022"),
        ("month", "Jan"),
        ("url", "https://kexue.fm/archives/8847"),
    ],
};
const HADSELL: Work = Work {
    key: "hadsell2006dimensionality",
    kind: "inproceedings",
    fields: &[
        ("author", "Hadsell, R. and Chopra, S. and LeCun, Y."),
        (
            "booktitle",
            "2006 IEEE Computer Society Conference on Computer Vision and Pattern Recognition (CVPR'06)",
        ),
        ("title", "Dimensionality Reduction by Learning an Invariant Mapping"),
        ("year", "2006"),
        ("volume", "2"),
        ("pages", "1735-1742"),
        ("doi", "10.1109/CVPR.2006.100"),
    ],
};

/// What is cited for sentence-transformers itself.
pub(super) fn of_the_library() -> String {
    bibtex(&REIMERS)
}

/// What is cited for a loss, by the name of its class; in releases up to 5.2, in-batch negatives were Henderson's.
pub(super) fn of_loss(class: &str, old: bool) -> Option<String> {
    let work = match class {
        "MultipleNegativesRankingLoss" | "MultipleNegativesSymmetricRankingLoss" if old => &HENDERSON,
        "MultipleNegativesRankingLoss" | "MultipleNegativesSymmetricRankingLoss" => &OORD,
        "CachedMultipleNegativesRankingLoss" | "CachedMultipleNegativesSymmetricRankingLoss" => &GAO,
        "MatryoshkaLoss" => &KUSUPATI,
        "CoSENTLoss" => &SU,
        "AnglELoss" => &LI,
        "TripletLoss" => &HERMANS,
        "GISTEmbedLoss" => &SOLATORIO,
        "MarginMSELoss" => &HOFSTAETTER,
        "MSELoss" => &REIMERS_2020,
        "ContrastiveLoss" | "OnlineContrastiveLoss" => &HADSELL,
        _ => return None,
    };
    Some(bibtex(work))
}

fn bibtex(work: &Work) -> String {
    // The entries of conferences have quotes there, those of arXiv braces.
    let of = |(name, value): &(&str, &str)| match work.kind {
        "misc" => format!("    {name}={{{value}}}"),
        _ => format!("    {name} = \"{value}\""),
    };
    let fields: Vec<String> = work.fields.iter().map(of).collect();
    let last = if work.kind == "misc" { "" } else { "," };
    format!("@{}{{{},\n{}{last}\n}}", work.kind, work.key, fields.join(",\n"))
}
