#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

static std::string copy(const std::string &text) {
    if (text.empty())
        throw std::invalid_argument("nothing to copy");
    return text.substr(0, 64);
}

PYBIND11_MODULE(sample_skbuild_pybind11, module) { module.def("copy", &copy); }
