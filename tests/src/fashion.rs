//! The small ViT and the small CNN on Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747): learned from nothing,
//! and adapted to a second task on a frozen base. Shared by a test and by a longer proof over several seeds.

use crate::kit::Kit;
use anyhow::{Result, anyhow};
use candle_core::{Device, Tensor};
use std::path::Path;
use temper_data::images::{ImageSet, Normalise, Part};
use temper_models::vision::config::Classes;
use temper_models::{CnnConfig, VisionConfig, VisionModel, VitConfig};
use temper_nn::rng::Stream;
use temper_nn::{Param, Role};
use temper_protocol::project::{Method, Train};
use temper_protocol::{Project, Value};
use temper_train::images::{Attached, Images, attach, evaluate, fit};

/// Images that training draws from.
const TRAIN_ROWS: u32 = 20_000;
/// Images that the result is measured on.
const TEST_ROWS: u32 = 2000;

/// Fashion-MNIST with what it takes to make numbers of it.
pub struct Fashion {
    train: ImageSet,
    test: ImageSet,
    normalise: Normalise,
    train_rows: Vec<u32>,
    test_rows: Vec<u32>,
}

/// A model, and how fast it takes to learn.
pub struct Case {
    /// What it is.
    pub config: VisionConfig,
    /// Learning rate when everything is trained.
    pub lr_whole: f64,
    /// Learning rate of adapters.
    pub lr_adapter: f64,
}

impl Fashion {
    /// Reads the kit's files.
    ///
    /// # Errors
    /// There is no kit, or its files are damaged.
    pub fn open() -> Result<Self> {
        let folder = Kit::find().map_err(|why| anyhow!(why))?.fashion_mnist;
        let (train, test) = (ImageSet::open(&folder, Part::Train)?, ImageSet::open(&folder, Part::Test)?);
        let train_rows: Vec<u32> = (0..TRAIN_ROWS).collect();
        let normalise = train.normalise_by(&train_rows);
        Ok(Self { train, test, normalise, train_rows, test_rows: (0..TEST_ROWS).collect() })
    }

    /// The same pictures turned by a quarter.
    #[must_use]
    pub fn turned(&self) -> Self {
        let (train_rows, test_rows) = (self.train_rows.clone(), self.test_rows.clone());
        let (train, test) = (self.train.turned(1), self.test.turned(1));
        Self { train, test, normalise: self.normalise.clone(), train_rows, test_rows }
    }

    fn train(&self, model: &mut VisionModel, attached: &Attached, task: usize, train: &Train) -> Result<()> {
        let images = Images { set: &self.train, rows: &self.train_rows, normalise: &self.normalise, task };
        fit(model, attached, images, train)?;
        Ok(())
    }

    /// Share of the test images whose class is told.
    ///
    /// # Errors
    /// Images that do not fit the model.
    pub fn accuracy(&self, model: &VisionModel, task: usize) -> Result<f64> {
        let images = Images { set: &self.test, rows: &self.test_rows, normalise: &self.normalise, task };
        Ok(evaluate(model, images)?.accuracy)
    }

    /// Both models.
    #[must_use]
    pub fn cases(&self) -> [Case; 2] {
        let classes = Classes { labels: self.train.labels.clone(), ..Classes::numbered(28, 1, 10) };
        let vit = VitConfig { intermediate_size: 96, norm_eps: 1e-6, ..VitConfig::new(classes.clone(), 7, 48, 3, 4) };
        let cnn = CnnConfig { stem_pool: true, ..CnnConfig::new(classes, 8, &[16, 32]) };
        [
            Case { config: VisionConfig::Vit(vit), lr_whole: 3e-3, lr_adapter: 5e-3 },
            Case { config: VisionConfig::Cnn(cnn), lr_whole: 3e-2, lr_adapter: 2e-2 },
        ]
    }

    /// A new model trained whole or, with `head_only`, by its classifier alone: what would be left if no gradient reached
    /// the layers below it.
    ///
    /// # Errors
    /// A training that fails.
    pub fn trained(&self, case: &Case, train: &Train, head_only: bool) -> Result<VisionModel> {
        let mut model = VisionModel::random(&case.config, train.seed)?;
        let attached = if head_only {
            model.promote(&|name| name == "head")?;
            model.params()?.into()
        } else {
            attach(&mut model, &method("full", &[]), 0, train.seed)?
        };
        self.train(&mut model, &attached, 0, train)?;
        Ok(model)
    }

    /// The model of a folder with a head for a second task, trained on these images with LoRA or, with `head_only`, by
    /// that head alone; and its accuracy in that task.
    ///
    /// # Errors
    /// A folder without such a model, or a training that fails.
    pub fn second_task(&self, base: &Path, train: &Train, head_only: bool) -> Result<(f64, VisionModel)> {
        let lora = method("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(16.0))]);
        self.second_task_by(base, (!head_only).then_some(&lora), train)
    }

    /// The same with any method, whose tasks, if it asks for some, are this one (`second`); without one by the head alone.
    ///
    /// # Errors
    /// A folder without such a model, or a training that fails.
    pub fn second_task_by(&self, base: &Path, method: Option<&Method>, train: &Train) -> Result<(f64, VisionModel)> {
        let mut model = VisionModel::load(base)?;
        let task = model.add_task("second", self.train.labels.clone(), train.seed)?;
        let attached = match method {
            Some(method) => attach(&mut model, method, task, train.seed)?,
            None => {
                model.promote(&|name| name == "head.second")?;
                model.params()?.into()
            }
        };
        self.train(&mut model, &attached, task, train)?;
        Ok((self.accuracy(&model, task)?, model))
    }

    /// The model of a folder trained on with a method in its own task, and its accuracy. With `drawn` every trained factor
    /// of its layers starts from numbers that are drawn anew, as large as it has them.
    ///
    /// # Errors
    /// A folder without such a model, or a training that fails.
    pub fn trained_on(&self, base: &Path, method: &Method, train: &Train, drawn: bool) -> Result<f64> {
        let mut model = VisionModel::load(base)?;
        let attached = attach(&mut model, method, 0, train.seed)?;
        let is_factor = |param: &&Param| matches!(param.role, Role::FactorA | Role::FactorB);
        for param in attached.params.iter().filter(is_factor).filter(|_| drawn) {
            let size = param.var.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
            let mut values = vec![0f32; param.elements()];
            Stream::new(train.seed, &format!("drawn/{}", param.name)).fill_normal(&mut values, f64::from(size));
            param.var.set(&Tensor::from_vec(values, param.var.shape(), &Device::Cpu)?)?;
        }
        self.train(&mut model, &attached, 0, train)?;
        self.accuracy(&model, 0)
    }
}

/// Steps of 32 images with a tenth of them to warm up.
#[must_use]
pub fn settings(steps: u64, lr_peak: f64, seed: u64) -> Train {
    Train { steps, batch: 32, lr_peak, warmup_steps: steps / 10, seed, ..Train::default() }
}

/// A method with settings, as a project has it.
#[must_use]
pub fn method(id: &str, settings: &[(&str, Value)]) -> Method {
    let mut project = Project::new("vision", "random:vision", &["images".to_owned()], id);
    for (key, value) in settings {
        project.method.settings.0.insert((*key).to_owned(), value.clone());
    }
    project.method
}
