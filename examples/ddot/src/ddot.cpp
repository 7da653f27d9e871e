// The dot product of two sequences of numbers, computed by CBLAS.

#include <stdexcept>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

// Declared here, so that the only thing needed of a BLAS is its library.
extern "C" double cblas_ddot(int n, const double *x, int incx, const double *y, int incy);

static double ddot(const std::vector<double> &x, const std::vector<double> &y) {
    if (x.size() != y.size()) {
        throw std::invalid_argument("the vectors differ in length");
    }
    return cblas_ddot(static_cast<int>(x.size()), x.data(), 1, y.data(), 1);
}

PYBIND11_MODULE(ddot, module) {
    module.doc() = "Dot products by CBLAS.";
    module.def("ddot", &ddot, pybind11::arg("x"), pybind11::arg("y"));
}
