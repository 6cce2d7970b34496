/* Runs the node: states come by a script, and what it publishes is printed. */
#include "stub.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

bool pendulum_node_start(void);
void pendulum_node_spin(void);

static int states;

rcl_allocator_t rcl_get_default_allocator(void)
{
    rcl_allocator_t one = {0};
    return one;
}

rcl_ret_t rcl_publish(const rcl_publisher_t *publisher, const void *message,
                      rmw_publisher_allocation_t *allocation)
{
    (void)allocation;
    printf("%s %.9g\n", publisher->topic, (double)((const std_msgs__msg__Float32 *)message)->data);
    return RCL_RET_OK;
}

rcl_ret_t rclc_support_init(rclc_support_t *support, int argc, char const *const *argv,
                            rcl_allocator_t *allocator)
{
    return support && !argc && !argv && allocator ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_node_init_default(rcl_node_t *node, const char *name, const char *name_space,
                                 rclc_support_t *support)
{
    return node && name && name_space && support ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_publisher_init_default(rcl_publisher_t *publisher, const rcl_node_t *node,
                                      const rosidl_message_type_support_t *type,
                                      const char *topic)
{
    publisher->topic = topic;
    return node && !strcmp(type->name, "std_msgs/Float32") ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_subscription_init_default(rcl_subscription_t *subscription, rcl_node_t *node,
                                         const rosidl_message_type_support_t *type,
                                         const char *topic)
{
    subscription->topic = topic;
    return node && !strcmp(type->name, "std_msgs/Float32MultiArray") ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_timer_init_default(rcl_timer_t *timer, rclc_support_t *support,
                                  const uint64_t period, const rcl_timer_callback_t callback)
{
    timer->period = (int64_t)period;
    timer->callback = callback;
    return support ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_executor_init(rclc_executor_t *executor, rcl_context_t *context,
                             const size_t handles, const rcl_allocator_t *allocator)
{
    return executor && context && handles == 2 && allocator ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_executor_add_timer(rclc_executor_t *executor, rcl_timer_t *timer)
{
    executor->timer = timer;
    return RCL_RET_OK;
}

rcl_ret_t rclc_executor_add_subscription(rclc_executor_t *executor,
                                         rcl_subscription_t *subscription, void *message,
                                         rclc_subscription_callback_t callback,
                                         rclc_executor_handle_invocation_t invocation)
{
    executor->message = message;
    executor->callback = callback;
    return subscription->topic && invocation == ON_NEW_DATA ? RCL_RET_OK : 1;
}

rcl_ret_t rclc_executor_spin_some(rclc_executor_t *executor, const uint64_t timeout)
{
    std_msgs__msg__Float32MultiArray *one = executor->message;
    (void)timeout;
    if (states) { /* nothing is known before the first message */
        one->data.data[0] = (float)(states * 37 % 101) / 16.0f - 3.0f;
        one->data.data[1] = (float)(states * 53 % 101) / 5.0f - 10.0f;
        one->data.size = 2;
        executor->callback(one);
    }
    states++;
    executor->timer->callback(executor->timer, executor->timer->period);
    return RCL_RET_OK;
}

const rosidl_message_type_support_t *type_support(const char *name)
{
    static rosidl_message_type_support_t held[2];
    rosidl_message_type_support_t *one = &held[strstr(name, "Array") != NULL];
    one->name = name;
    return one;
}

int main(void)
{
    if (!pendulum_node_start()) {
        return 1;
    }
    for (int i = 0; i <= STEPS; i++) {
        pendulum_node_spin();
    }
    return 0;
}
