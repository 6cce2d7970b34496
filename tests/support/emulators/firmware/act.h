/* One way to call the three signatures of policy_act. FORM: 0 table, 1 index, 2 numbers. */
#ifndef ACT_H
#define ACT_H
#include "policy.h"
#if FORM == 0
#define ACT(obs, action) ((action)[0] = (float)policy_act((int)(obs)[0]))
#elif FORM == 1
#define ACT(obs, action) ((action)[0] = (float)policy_act(obs))
#else
#define ACT(obs, action) policy_act(obs, action)
#endif
#endif
