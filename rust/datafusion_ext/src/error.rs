//! Errors and JSON at the border to Python.

use engine::EngineError;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

pyo3::create_exception!(
    datafusion_ext,
    DeltakeepError,
    PyException,
    "A failure of the engine; `args` are its code, from a closed list, and its message."
);

/// The Python exception for an error of the engine.
pub fn raised(error: &EngineError) -> PyErr {
    DeltakeepError::new_err((error.code(), error.message()))
}

/// Read a value that Python gave as JSON.
pub fn from_json<T: DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text)
        .map_err(|error| DeltakeepError::new_err(("invalid_argument", format!("the request cannot be read: {error}"))))
}

/// Give a value to Python as JSON.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> PyResult<String> {
    serde_json::to_string(value)
        .map_err(|error| DeltakeepError::new_err(("engine_defect", format!("the answer cannot be written: {error}"))))
}
