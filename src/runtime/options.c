#include "options.h"

#include "../hyperion/hyperion.h"

static const hyp_option engine_rows[] = {
#define HYP_ENGINE_OPTION(...) HYP_OPTION_ROW(hyp_engine_config, __VA_ARGS__)
#include "../hyperion/options.def"
};
static const hyp_option model_rows[] = {
#define HYP_MODEL_OPTION(...) HYP_OPTION_ROW(hyp_model_config, __VA_ARGS__)
#include "../hyperion/options.def"
};
static const hyp_option session_rows[] = {
#define HYP_SESSION_OPTION(...) HYP_OPTION_ROW(hyp_session_config, __VA_ARGS__)
#include "../hyperion/options.def"
};

const hyp_options hyp_engine_options = {engine_rows, sizeof engine_rows / sizeof *engine_rows};
const hyp_options hyp_model_options = {model_rows, sizeof model_rows / sizeof *model_rows};
const hyp_options hyp_session_options = {session_rows, sizeof session_rows / sizeof *session_rows};
