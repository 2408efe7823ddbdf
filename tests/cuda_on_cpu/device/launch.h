// From a kernel's C++ type: how to call it with an array of pointers to its arguments, as the GPU's driver is given
// them, and a description of its parameters for whoever fills that array.
#pragma once

namespace coc {

template <class... A, size_t... I>
UNCHECKED void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
  kernel(*(std::remove_cv_t<std::remove_reference_t<A>>*)args[I]...);
}
template <class... A>
UNCHECKED void caller(void* kernel, void** args) {
  call((void (*)(A...))kernel, args, std::index_sequence_for<A...>{});
}
template <class... A>
int launch(void (*kernel)(A...), void** args, const coc_launch* l, const coc_shared* shared) {
  return coc_run(&caller<A...>, (void*)kernel, args, l, shared);
}

// 'f'loat, signed 'i'nt, 'u'nsigned, '?' bool, 'V' for structs: float4, half ...
template <class T>
constexpr char kind() {
  if (std::is_same<T, bool>::value) return '?';
#ifdef CUDA_ON_CPU_COUNT
  if (std::is_same<T, float>::value) return 'f';
#endif
  if (std::is_floating_point<T>::value) return 'f';
  if (!std::is_integral<T>::value) return 'V';
  return std::is_unsigned<T>::value ? 'u' : 'i';
}
// "Pf4" pointer to float, "Pcf4" to const float, "Si4" an int ...
template <class T>
int describe(char* out) {
  if constexpr (std::is_pointer<T>::value) {
    using E = std::remove_pointer_t<T>;
    using D = std::remove_cv_t<E>;
    return sprintf(out, "P%s%c%zu ", std::is_const<E>::value ? "c" : "", kind<D>(), sizeof(D));
  } else {
    return sprintf(out, "S%c%zu ", kind<T>(), sizeof(T));
  }
}
template <class... A>
const char* parameters(void (*)(A...)) {
  static char text[1024];
  char* out = text;
  *out = 0;
  (void)std::initializer_list<int>{(out += describe<A>(out), 0)...};
  return text;
}

}  // namespace coc
