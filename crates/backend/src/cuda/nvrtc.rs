//! The run-time compiler of CUDA, loaded when it is needed: no build of ours asks for it.
//!
//! Six functions of the library are enough to turn a kernel's source into machine code for one
//! architecture. Source: NVRTC, CUDA 12 and 13.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

use crate::Error;

/// Names of the library, newest first; a loader looks for them where it always does.
const NAMES: [&str; 5] =
    ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", "nvrtc64_130_0.dll", "nvrtc64_120_0.dll"];

/// The compiler.
pub struct Nvrtc {
    library: Library,
    version: (i32, i32),
}

type Program = *mut c_void;
// SAFETY: the signatures, here and below, are those of NVRTC's header; functions are called with
// places and strings that are valid for the time of the call.
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
// SAFETY: see `Create`.
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
// SAFETY: see `Create`.
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
// SAFETY: see `Create`.
type Bytes = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
// SAFETY: see `Create`.
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
// SAFETY: see `Create`.
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;

impl Nvrtc {
    /// Loads the library, from `path` if one is given.
    ///
    /// # Errors
    /// There is none; the message says what to install.
    pub fn load(path: Option<&Path>) -> Result<Nvrtc, Error> {
        let open = |name: &std::ffi::OsStr| {
            // SAFETY: NVRTC's initializers have no preconditions.
            unsafe { Library::new(name) }
        };
        let library = match path {
            Some(path) => open(path.as_os_str()).ok(),
            None => NAMES.iter().find_map(|name| open(name.as_ref()).ok()),
        };
        let library = library.ok_or(Error::NoCompiler)?;
        let mut nvrtc = Nvrtc { library, version: (0, 0) };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the signature is that of the library's header; both places are valid.
        unsafe { nvrtc.function::<Version>(c"nvrtcVersion")?(&mut major, &mut minor) };
        nvrtc.version = (major, minor);
        Ok(nvrtc)
    }

    /// Its version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// A function of the library.
    ///
    /// Callers name the type of the function as NVRTC's header does.
    fn function<F: Copy>(&self, name: &CStr) -> Result<F, Error> {
        // SAFETY: the caller's type is the one in the header.
        let found = unsafe { self.library.get::<F>(name.to_bytes_with_nul()) };
        found.map(|function| *function).map_err(|_| Error::NoCompiler)
    }

    /// Machine code (cubin) of a translation unit.
    ///
    /// # Errors
    /// The source does not compile; the compiler's own words.
    pub fn compile(&self, name: &str, source: &str, options: &[String]) -> Result<Vec<u8>, Error> {
        let text = |text: &str| CString::new(text).expect("sources and options hold no NUL");
        let (file, source) = (text(&format!("{name}.cu")), text(source));
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        let none = std::ptr::null();
        // SAFETY: all strings live until the program is destroyed; counts are those of the lists.
        unsafe {
            let create: Create = self.function(c"nvrtcCreateProgram")?;
            create(&mut program, source.as_ptr(), file.as_ptr(), 0, none, none);
            let compile: Compile = self.function(c"nvrtcCompileProgram")?;
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let made = if status == 0 {
                self.bytes(program, c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")
            } else {
                let log = self.bytes(program, c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")?;
                let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
                Err(Error::Kernel { name: name.to_owned(), log })
            };
            self.function::<Destroy>(c"nvrtcDestroyProgram")?(&mut program);
            made
        }
    }

    /// What a program holds: its code or its log.
    fn bytes(&self, program: Program, size: &CStr, bytes: &CStr) -> Result<Vec<u8>, Error> {
        let (size, bytes): (Size, Bytes) = (self.function(size)?, self.function(bytes)?);
        let mut len = 0;
        // SAFETY: the library fills exactly as many bytes as it has told.
        unsafe {
            size(program, &mut len);
            let mut out = vec![0u8; len];
            bytes(program, out.as_mut_ptr().cast());
            Ok(out)
        }
    }
}
