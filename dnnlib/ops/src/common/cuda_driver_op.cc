// The driver's side of launching: which code is loaded on which GPU, and where a kernel is in it.
#ifdef GANSFORMER_CUDA
#include "common/cuda_driver.h"

#include <dlfcn.h>

#include <cstdint>

#include <list>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "common/cuda_launch.h"

namespace gansformer {
namespace {

constexpr int kNoDriver = 3, kNoKernel = 500;  // CUDA_ERROR_NOT_INITIALIZED, _NOT_FOUND
constexpr int kMajor = 75, kMinor = 76;        // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR

// The functions of libcuda that are used here; TensorFlow has opened it long before.
struct Driver {
  int (*get_context)(void**) = nullptr;
  int (*get_device)(int*) = nullptr;
  int (*get_attribute)(int*, int, int) = nullptr;
  int (*load)(void**, const void*) = nullptr;
  int (*find)(void**, void*, const char*) = nullptr;
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                void**, void**) = nullptr;
  int (*get_text)(int, const char**) = nullptr;
  bool is_whole = false;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) return;
    is_whole = read(library, "cuCtxGetCurrent", &get_context) &&
               read(library, "cuCtxGetDevice", &get_device) &&
               read(library, "cuDeviceGetAttribute", &get_attribute) &&
               read(library, "cuModuleLoadData", &load) &&
               read(library, "cuModuleGetFunction", &find) &&
               read(library, "cuLaunchKernel", &launch) &&
               read(library, "cuGetErrorString", &get_text);
  }

  template <typename Function>
  static bool read(void* library, const char* name, Function* function) {
    *function = reinterpret_cast<Function>(dlsym(library, name));
    return *function != nullptr;
  }
};

const Driver& driver() {
  static const Driver driver;
  return driver;
}

// Compiled code, and what the driver made of it.
struct Module {
  const std::string* image = nullptr;
  void* handle = nullptr;

  bool names(const char* kernel) const { return image->find(kernel) != std::string::npos; }
};

std::mutex mutex;                                  // of the following
std::map<int, std::list<std::string>> code;        // by compute capability, such as 90
std::map<void*, std::vector<Module>> modules;      // by context
std::map<std::pair<void*, const void*>, void*> functions;
thread_local int error = 0;

int load_modules(std::vector<Module>* loaded) {
  int device = 0, major = 0, minor = 0, status = driver().get_device(&device);
  if (status == 0) status = driver().get_attribute(&major, kMajor, device);
  if (status == 0) status = driver().get_attribute(&minor, kMinor, device);
  for (const std::string& image : code[10 * major + minor]) {
    if (status != 0) break;
    loaded->push_back({&image});
    status = driver().load(&loaded->back().handle, image.data());
  }
  return status;
}

int find_function(const void* kernel, void** function) {
  void* context = nullptr;
  if (const int status = driver().get_context(&context)) return status;
  const std::lock_guard<std::mutex> lock(mutex);
  void*& found = functions[{context, kernel}];
  if (found == nullptr) {
    std::vector<Module>& loaded = modules[context];
    if (loaded.empty()) {
      if (const int status = load_modules(&loaded)) return loaded.clear(), status;
    }
    Dl_info info;
    if (dladdr(kernel, &info) == 0 || info.dli_sname == nullptr) return kNoKernel;
    // To ask a module for a kernel of another one is an error, which compute-sanitizer reports.
    for (const Module& module : loaded) {
      if (found == nullptr && module.names(info.dli_sname) &&
          driver().find(&found, module.handle, info.dli_sname) != 0) {
        found = nullptr;
      }
    }
  }
  *function = found;
  return found == nullptr ? kNoKernel : 0;
}

}  // namespace

void launch_symbol(const void* kernel, dim3 blocks, dim3 threads, void* stream, void** arguments) {
  void* function = nullptr;
  int status = driver().is_whole ? find_function(kernel, &function) : kNoDriver;
  if (status == 0) {
    status = driver().launch(function, blocks.x, blocks.y, blocks.z, threads.x, threads.y, threads.z,
                             0, stream, arguments, nullptr);
  }
  if (error == 0) error = status;
}

int last_error() {
  const int status = error;
  error = 0;
  return status;
}

}  // namespace gansformer

extern "C" void gansformer_add_cuda_code(int capability, const char* image, std::int64_t size) {
  const std::lock_guard<std::mutex> lock(gansformer::mutex);
  gansformer::code[capability].emplace_back(image, size);
}

extern "C" const char* gansformer_cuda_error_text(int error) {
  const char* text = nullptr;
  const gansformer::Driver& driver = gansformer::driver();
  if (driver.is_whole && driver.get_text(error, &text) == 0 && text != nullptr) return text;
  return "no NVIDIA driver";
}
#endif
