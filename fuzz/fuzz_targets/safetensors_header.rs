//! Any bytes as a safetensors file: an error or tensors whose numbers can be read, never a panic.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sentir_model::weights::Weights;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(weights) = Weights::from_bytes(Path::new("model.safetensors"), bytes.to_vec()) {
        for view in weights.tensors() {
            assert_eq!(view.shape.iter().product::<usize>(), view.elements());
            let _ = view.to_f32();
            let _ = view.to_i64();
        }
    }
});
