/* One way to call the three signatures of policy_act. FORM: 0 table, 1 index, 2 numbers.
   index is an int: before the call the state of a table, after it the choice. */
#ifndef ACT_H
#define ACT_H
#include "policy.h"
#if FORM == 0
#define ACT(obs, action, index) ((index) = policy_act(index))
#elif FORM == 1
#define ACT(obs, action, index) ((index) = policy_act(obs))
#else
#define ACT(obs, action, index) policy_act(obs, action)
#endif
#endif
