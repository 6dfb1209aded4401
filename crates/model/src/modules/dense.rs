//! `Dense`: y = activation(x Wᵀ + b), with `use_residual` + x (or x Rᵀ where the widths differ).
//! Source: sentence-transformers 6.2, `base/modules/dense.py`.

use std::path::Path;

use sentir_compute::ops::{self, Linear};
use sentir_compute::{Activation, Backend, ParameterMut, Pass, Tensor, WeightType};
use serde::Deserialize;

use crate::parameters::{self, Purpose, Trainable};
use crate::weights::Weights;
use crate::{Error, Result, json};

/// A dense layer on sentence vectors.
#[derive(Debug)]
pub(crate) struct Dense {
    linear: Linear,
    activation: Activation,
    residual: Residual,
}

#[derive(Debug)]
enum Residual {
    None,
    Identity,
    Projected(Box<Linear>),
}

#[derive(Deserialize)]
struct Config {
    in_features: usize,
    out_features: usize,
    bias: Option<bool>,
    activation_function: Option<String>,
    use_residual: Option<bool>,
}

impl Dense {
    /// Loads from the module's folder; `width` is that of the vectors it gets.
    pub(crate) fn load(
        folder: &Path,
        width: usize,
        trainable: Trainable,
        backend: &dyn Backend,
    ) -> Result<Self> {
        let path = folder.join("config.json");
        let config: Config = json::read(&path)?;
        super::expect_sentence_embedding(&path)?;
        let (inputs, outputs) = (config.in_features, config.out_features);
        if inputs != width {
            return Err(Error::invalid(
                &path,
                format!("in_features is {inputs}, but the vectors before it have {width} components"),
            ));
        }
        if outputs == 0 {
            return Err(Error::invalid(&path, "out_features is 0"));
        }
        let activation = match config.activation_function.as_deref() {
            None => Activation::Tanh,
            Some(name) => activation(name).ok_or_else(|| {
                let known = FUNCTIONS.map(|(name, _)| name).join(", ");
                Error::invalid(&path, format!("activation_function \"{name}\" is not supported; supported are, after \"torch.nn.modules.\": {known}"))
            })?,
        };
        let weights = Weights::open(folder)?;
        let purpose = Purpose::of(WeightType::F32, trainable, &weights)?;
        let linear = |name: &str, bias| {
            parameters::linear(&weights, &[name.to_owned()], outputs, inputs, bias, purpose, backend)
        };
        Ok(Self {
            linear: linear("linear", config.bias.unwrap_or(true))?,
            activation,
            residual: match config.use_residual.unwrap_or(false) {
                false => Residual::None,
                true if inputs == outputs => Residual::Identity,
                true => Residual::Projected(Box::new(linear("residual", false)?)),
            },
        })
    }

    /// Width of the vectors it gives.
    pub(crate) fn outputs(&self) -> usize {
        self.linear.weight.outputs()
    }

    /// Number of its parameters.
    pub(crate) fn parameters(&self) -> usize {
        let matrix = self.linear.weight.inputs() * self.outputs();
        let projection = if matches!(self.residual, Residual::Projected(_)) { matrix } else { 0 };
        matrix + projection + self.linear.bias.as_ref().map_or(0, Tensor::width)
    }

    /// Its settings, for people.
    pub(crate) fn details(&self) -> String {
        let bias = if self.linear.bias.is_some() { "" } else { ", without bias" };
        let residual = match self.residual {
            Residual::None => "",
            Residual::Identity => ", plus its input",
            Residual::Projected(_) => ", plus a projection of its input",
        };
        format!(
            "{} to {} components, {:?}{bias}{residual}",
            self.linear.weight.inputs(),
            self.outputs(),
            self.activation
        )
    }

    /// All parameters, with the names of their tensors.
    pub(crate) fn parameters_mut(&mut self) -> Vec<(String, ParameterMut<'_>)> {
        let mut all = Vec::new();
        let projection = match &mut self.residual {
            Residual::Projected(projection) => Some(("residual", &mut **projection)),
            Residual::None | Residual::Identity => None,
        };
        for (name, Linear { weight, bias }) in std::iter::once(("linear", &mut self.linear)).chain(projection)
        {
            all.push((format!("{name}.weight"), ParameterMut::Weight(weight)));
            all.extend(bias.as_mut().map(|bias| (format!("{name}.bias"), ParameterMut::Vector(bias))));
        }
        all
    }

    /// `x` is `[texts, inputs]`; the result is `[texts, outputs]`.
    pub(crate) fn forward<'a>(&'a self, pass: &mut Pass<'a>, x: Tensor) -> Tensor {
        let mut out = ops::linear(pass, &x, &self.linear, self.activation);
        match &self.residual {
            Residual::None => {}
            Residual::Identity => out = ops::add(pass, out, &x),
            Residual::Projected(projection) => {
                let projected = ops::linear(pass, &x, projection, Activation::Identity);
                out = ops::add(pass, out, &projected);
                pass.free(projected);
            }
        }
        pass.free(x);
        out
    }
}

/// The classes of `torch.nn` that need no parameters and that sentir computes.
const FUNCTIONS: [(&str, Activation); 6] = [
    ("activation.Tanh", Activation::Tanh),
    ("linear.Identity", Activation::Identity),
    ("activation.ReLU", Activation::Relu),
    ("activation.GELU", Activation::Gelu),
    ("activation.Sigmoid", Activation::Sigmoid),
    ("activation.SiLU", Activation::Silu),
];

/// `torch.nn.modules.activation.Tanh`, or the shorter `torch.nn.Tanh`.
fn activation(name: &str) -> Option<Activation> {
    let short = name.strip_prefix("torch.nn.")?;
    let short = short.strip_prefix("modules.").unwrap_or(short);
    let found =
        FUNCTIONS.iter().find(|(known, _)| *known == short || known.split('.').next_back() == Some(short));
    found.map(|(_, activation)| *activation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_by_their_names_in_torch() {
        assert_eq!(activation("torch.nn.modules.activation.Tanh"), Some(Activation::Tanh));
        assert_eq!(activation("torch.nn.modules.linear.Identity"), Some(Activation::Identity));
        assert_eq!(activation("torch.nn.GELU"), Some(Activation::Gelu));
        assert_eq!(activation("torch.nn.modules.activation.Mish"), None);
        assert_eq!(activation("os.system"), None);
        assert_eq!(activation("builtins.Tanh"), None);
    }
}
