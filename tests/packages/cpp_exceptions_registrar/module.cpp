// Tells pybind11 how to translate sample::Oops, for all modules of the process, and can throw as well.
#include <pybind11/pybind11.h>

#include "oops.hpp"

namespace py = pybind11;

PYBIND11_MODULE(cpp_exceptions_registrar, m) {
    py::register_exception<sample::Oops>(m, "Oops");
    m.def("throw_runtime_error", [] { throw std::runtime_error("from the registrar"); });
    m.def("throw_oops", [] { throw sample::Oops("from the registrar"); });
}
