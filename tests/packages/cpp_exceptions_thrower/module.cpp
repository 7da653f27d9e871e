// Throws what another module may have told pybind11 to translate.
#include <pybind11/pybind11.h>

#include "oops.hpp"

namespace py = pybind11;

PYBIND11_MODULE(cpp_exceptions_thrower, m) {
    m.def("throw_runtime_error", [] { throw std::runtime_error("from the thrower"); });
    m.def("throw_index_error", [] { throw std::out_of_range("from the thrower"); });
    m.def("throw_oops", [] { throw sample::Oops("from the thrower"); });
}
