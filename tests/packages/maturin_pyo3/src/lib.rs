use pyo3::prelude::*;

#[pyfunction]
fn copy(text: &str) -> String {
    text.chars().take(64).collect()
}

#[pymodule]
fn sample_maturin_pyo3(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(copy, module)?)
}
