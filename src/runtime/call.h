// Calls on a session, which its fiber runs.
#ifndef HYP_RUNTIME_CALL_H
#define HYP_RUNTIME_CALL_H

#include "engine.h"

void hyp_run_calls(void *session); // the session's fiber
// HYP_E_STATE, with a message: a call is under way.
hyp_status hyp_session_refuse(const hyp_session *session);

#endif
