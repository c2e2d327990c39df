/* Workloads in C++: the stacks that libstdc++ and its exceptions make. */
#include "unwind_workload.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <vector>

namespace {

void call(workload_visit visit) {
    if (visit) visit();
}

struct guard { /* its destructor runs while an exception unwinds the stack */
    workload_visit visit;
    ~guard() { call(visit); }
};

int thrower(int depth, workload_visit visit) {
    guard g{visit};
    if (depth == 0) throw std::runtime_error("bottom of the recursion");
    std::string text(static_cast<size_t>(depth) * 7, 'x');
    return thrower(depth - 1, visit) + static_cast<int>(text.size());
}

class visiting_buffer : public std::streambuf {
  public:
    explicit visiting_buffer(workload_visit visit) : visit_(visit) {}

  protected:
    int overflow(int c) override {
        if (++calls_ % 16 == 1) call(visit_);
        return c;
    }

  private:
    workload_visit visit_;
    int calls_ = 0;
};

} // namespace

void workload_cxx_algorithms(workload_visit visit) {
    std::vector<int> v(200);
    for (size_t i = 0; i < v.size(); i++) v[i] = static_cast<int>(i * 7919 % 211);
    int calls = 0;
    std::function<bool(int, int)> less = [&](int a, int b) {
        if (++calls % 100 == 1) call(visit);
        return a < b;
    };
    std::sort(v.begin(), v.end(), less);
    std::stable_sort(v.begin(), v.end(), [&](int a, int b) { return less(b, a); });
    std::map<std::string, int, std::function<bool(const std::string &, const std::string &)>> m(
        [&](const std::string &a, const std::string &b) {
            if (++calls % 64 == 1) call(visit);
            return a < b;
        });
    for (int i = 0; i < 64; i++) m[std::to_string(i * 37 % 64)] = i;
    std::for_each(m.begin(), m.end(), [&](const auto &p) { calls += p.second; });
}

void workload_cxx_exceptions(workload_visit visit) {
    for (int i = 1; i < 4; i++) {
        try {
            thrower(i * 2, visit);
        } catch (const std::exception &e) {
            call(visit);
            try {
                throw;
            } catch (const std::runtime_error &) {
                call(visit);
            }
        }
    }
}

void workload_cxx_streams(workload_visit visit) {
    visiting_buffer buffer(visit);
    std::ostream out(&buffer);
    out << "a number " << 3.14159 << " and " << 42 << ' ' << std::hex << 255 << '\n';
    std::istringstream in("12 34.5 word 0x10");
    int i = 0;
    double d = 0;
    std::string w;
    in >> i >> d >> w;
    out << i << d << w << std::endl;
    std::regex r("([a-z]+)([0-9]*)");
    std::smatch found;
    std::string subject = "abc123";
    if (std::regex_match(subject, found, r)) out << found[1];
}
