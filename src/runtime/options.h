// Tables of the options of the interface's config structs; that of hyp_sampling is the sampler's.
#ifndef HYP_RUNTIME_OPTIONS_H
#define HYP_RUNTIME_OPTIONS_H

#include "../base/options.h"
#include "../decode/sampler.h"

extern const hyp_options hyp_engine_options;  // of hyp_engine_config
extern const hyp_options hyp_model_options;   // of hyp_model_config
extern const hyp_options hyp_session_options; // of hyp_session_config

#endif
