//! Directions for a model that is about to be opened: their file is read when the model's size is
//! known, and they are loaded when it is open.

use anyhow::Result;
use engine::Engine;
use gguf::File;
use measure::direction::Directions;

use crate::meant::steer::Steer;

/// Directions in memory, and how sessions are steered along them.
#[derive(Debug)]
pub struct Loaded {
    directions: Directions,
    way: engine::Steer,
}

/// Reads what was named, if anything was.
///
/// # Errors
/// A file that cannot be read, or is for a model of another size.
pub fn read(steer: Option<&Steer>, model: &File) -> Result<Option<Loaded>> {
    let Some(Steer { file, way }) = steer else { return Ok(None) };
    let shape = model::read_shape(model)?;
    let directions = Directions::open(file, shape.layers, shape.hidden)?;
    Ok(Some(Loaded { directions, way: *way }))
}

/// Loads what was read.
///
/// # Errors
/// Too little memory.
pub fn load(engine: &mut Engine, loaded: Option<&Loaded>) -> Result<(), engine::Error> {
    let Some(Loaded { directions, way }) = loaded else { return Ok(()) };
    engine.load_directions(&directions.values, *way)
}
